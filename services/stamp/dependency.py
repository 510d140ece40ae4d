"""For FastAPI:

verifier = Verifier.from_environment("reviews")
Caller = Annotated[Stamped, Depends(Stamp(verifier))]             # anybody, but through the gateway
User = Annotated[Stamped, Depends(Stamp(verifier, login=True))]   # somebody who has logged in

@app.post("/reviews")
def create(caller: User) -> ...
"""

from __future__ import annotations

from fastapi import HTTPException, Request

from services.stamp.verifier import Verifier
from services.stamp.verify import FIELD, Stamped, StampError


class Stamp:
    """The dependency. Not a coroutine: FastAPI runs it in a thread, where it may wait for the gateway's keys."""

    def __init__(self, verifier: Verifier, *, login: bool = False) -> None:
        self._verifier = verifier
        self._login = login

    def __call__(self, request: Request) -> Stamped:
        try:
            return self._verifier.read(request.headers.getlist(FIELD), login=self._login)
        except StampError as error:
            headers = {"WWW-Authenticate": FIELD} if error.status == 401 else {"Retry-After": "1"}
            raise HTTPException(error.status, {"code": error.code, "detail": str(error)}, headers) from None
