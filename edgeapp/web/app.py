"""The web application: pages, REST and live view of one device, as one ASGI app.

The pages are plain files beside this one: no build step, nothing from the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from edgeapp import __version__
from edgeapp.core.events import BackendError, ConfigError, DeviceError
from edgeapp.web import content_api, desk_api, health_api, live_api, models_api, session_api, station_api
from edgeapp.web.access import Guard
from edgeapp.web.site import Site

ASSETS: Final = Path(__file__).parent / "assets"
PAGES: Final = ("/", "/budget", "/station", "/content", "/models", "/health", "/login")

_FRESH: Final = {"cache-control": "no-cache"}  # asked again each time, by ETag: an update shows at once


def create_app(site: Site, more: Sequence[APIRouter] = ()) -> Any:
    """The ASGI application. `more` are routers of other interfaces on the same port."""
    app = FastAPI(title="edgeapp", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.site = site
    routers = [session_api.router(), live_api.router(), models_api.router(site), health_api.router()]
    for each in (*routers, station_api.router(), desk_api.router(), content_api.router(), *more):
        app.include_router(each)

    def page() -> FileResponse:
        return FileResponse(ASSETS / "index.html", headers=_FRESH)

    def kiosk() -> FileResponse:
        return FileResponse(ASSETS / "kiosk.html", headers=_FRESH)

    for path in PAGES:
        app.add_api_route(path, page, include_in_schema=False)
    app.add_api_route("/kiosk", kiosk, include_in_schema=False)
    app.mount("/assets", _Fresh(directory=ASSETS), name="assets")
    for kind in (ConfigError, BackendError, DeviceError):
        app.add_exception_handler(kind, _cannot)
    app.add_exception_handler(RequestValidationError, _wrong)
    return Guard(app, site)


class _Fresh(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_FRESH)
        return response


def _cannot(_: Request, error: Exception) -> JSONResponse:
    """What cannot be done as things are, in the sentence that says what to do."""
    return JSONResponse({"detail": str(error)}, 409)


def _wrong(_: Request, error: Exception) -> JSONResponse:
    """Which value is wrong; what was sent is not sent back, as it may be a password."""
    assert isinstance(error, RequestValidationError)
    wrong = [{"loc": list(each["loc"]), "msg": each["msg"], "type": each["type"]} for each in error.errors()]
    return JSONResponse({"detail": wrong}, 422)
