"""Ask a chat model that was trained on ChatML: `question.py URL QUESTION`; prints the answer as JSON text.

Runs with the standard library alone.
"""

import json
import sys
import urllib.request


def main(url: str, question: str) -> None:
    """Print the answer; an HTTP error ends the process."""
    body = {
        "text_input": f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        "parameters": {"max_tokens": 32, "temperature": 0},
        "exclude_input_in_output": True,
    }
    request = urllib.request.Request(url, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as response:
        print(json.dumps(json.loads(response.read())["text_output"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
