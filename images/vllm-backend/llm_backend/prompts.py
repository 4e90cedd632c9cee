"""The prompt of a request as vLLM's engine takes it: tokens, and images if there are any."""

import asyncio
import base64
import binascii
import io
from typing import Any

from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.v1.engine.async_llm import AsyncLLM

from llm_backend.contract import GenerateRequest, RequestError


async def render_prompt(engine: AsyncLLM, request: GenerateRequest) -> Any:
    """What `generate` takes; it still takes text as well, but says that it will not for long.

    Raises:
        RequestError: an image is no base64 of a picture.
        ValueError: the prompt is empty or too long.
    """
    # To decode a photo takes a tenth of a second.
    prompt = await asyncio.to_thread(_with_images, request) if request.images else {"prompt": request.prompt}
    parsed = parse_model_prompt(engine.model_config, prompt)
    # The cache counts on every rendered image to reach the engine; of a request that is refused or cancelled none does.
    (rendered,) = await engine.renderer.render_cmpl_async([parsed], skip_mm_cache=bool(request.images))
    return rendered


def _with_images(request: GenerateRequest) -> dict[str, object]:
    images = [_decode(number, image) for number, image in enumerate(request.images)]
    return {"prompt": request.prompt, "multi_modal_data": {"image": images}}


def _decode(number: int, encoded: bytes) -> Any:
    # Only requests with images need it.
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    except (binascii.Error, UnidentifiedImageError, OSError) as error:
        raise RequestError(f"image {number} is no base64 of a picture: {error}") from error
