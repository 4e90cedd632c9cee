"""The prompt of a request as vLLM takes it: text, or text with images."""

import base64
import binascii
import io
from typing import Any

from llm_backend.contract import GenerateRequest, RequestError


def build_prompt(request: GenerateRequest) -> Any:
    """Text, or vLLM's TextPrompt with the decoded images.

    Raises:
        RequestError: an image is no base64 of a picture.
    """
    if not request.images:
        return request.prompt
    images = [_decode(number, image) for number, image in enumerate(request.images)]
    return {"prompt": request.prompt, "multi_modal_data": {"image": images}}


def _decode(number: int, encoded: bytes) -> Any:
    # Only requests with images need it.
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))).convert("RGB")
    except (binascii.Error, UnidentifiedImageError, OSError) as error:
        raise RequestError(f"image {number} is no base64 of a picture: {error}") from error
