"""Errors in the JSON format of OpenAI's API, which its clients turn into exceptions.

{"error": {"message", "type", "param", "code"}} with an HTTP status.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from zipperasr.cli import LONGEST_ERROR, shortened

RETRY_AFTER_S = 5


class ApiError(Exception):
    """An error response: one line of at most `LONGEST_ERROR` characters.

    param: the form field with the error. code: for programs. retry_after_s: value of the Retry-After header.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ):
        message = shortened(" ".join(message.split()), LONGEST_ERROR)
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers: dict[str, str] = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}

    @property
    def content(self) -> dict:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.content}, self.status, self.headers)


def busy(why: str) -> ApiError:
    """503 with Retry-After."""
    return ApiError(503, f"busy: {why}; try again later", code="server_busy", retry_after_s=RETRY_AFTER_S)


def shutting_down() -> ApiError:
    """503 for requests that the server will not process any more."""
    return ApiError(503, "the server is shutting down; try again later", code="shutting_down")


def model_failed(error: Exception) -> ApiError:
    """500 for a DecodingFailed, whose traceback is in the server's log."""
    message = f"internal error ({error}) in a batch with this audio; see the server's log"
    return ApiError(500, message, code="model_error")


async def told(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for `ApiError`."""
    assert isinstance(error, ApiError)
    return error.response()


async def no_such_route(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for unknown paths and methods."""
    assert isinstance(error, HTTPException)
    others = "the WebSocket /v1/realtime, GET /v1/models, GET /health, GET /metrics and the page at /"
    remedy = f"served are POST /v1/audio/transcriptions, {others}"
    message = f"{request.method} {request.url.path}: {error.detail.lower()}; {remedy}"
    response = ApiError(error.status_code, message).response()
    response.headers.update(error.headers or {})
    return response


async def internal(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for unexpected exceptions; the traceback goes to the log."""
    return unexpected(error).response()


def unexpected(error: BaseException) -> ApiError:
    """500 for an exception that is in the server's log."""
    return ApiError(500, f"internal error ({type(error).__name__}); see the server's log")
