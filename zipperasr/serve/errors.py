"""Errors in OpenAI's JSON form, so that its clients raise their own exceptions with our sentence.

In: what is raised. Out: {"error": {"message", "type", "param", "code"}} with a status.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from zipperasr.cli import LONGEST_ERROR, shortened

RETRY_AFTER_S = 5


class ApiError(Exception):
    """What a client is told, in one line of at most `LONGEST_ERROR` characters whatever it quotes.

    param: the form field at fault. code: for programs. retry_after_s: when it may be worth trying again.
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
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}

    def response(self) -> JSONResponse:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, self.status, self.headers)


def busy(why: str) -> ApiError:
    """503: worth trying again."""
    return ApiError(503, f"busy: {why}; try again later", code="server_busy", retry_after_s=RETRY_AFTER_S)


async def told(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for `ApiError`."""
    assert isinstance(error, ApiError)
    return error.response()


async def no_such_route(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for its own errors: a path or method that is not served."""
    assert isinstance(error, HTTPException)
    remedy = "POST /v1/audio/transcriptions, GET /v1/models, GET /health and the page at / are"
    message = f"{request.method} {request.url.path}: {error.detail.lower()}; {remedy}"
    response = ApiError(error.status_code, message).response()
    response.headers.update(error.headers or {})
    return response


async def internal(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for a mistake of ours; the traceback goes to the log."""
    return ApiError(500, f"internal error ({type(error).__name__}); the server's log says where").response()
