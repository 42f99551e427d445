"""The HTTP door of the service: shapes, status codes, metrics.

When PostgreSQL or the settings cannot answer, a route says 503 with the reason, and works again by itself when they
are back. `GET /health` is green only when both really answered just now.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

import psycopg
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from catalytic import lattice
from catalytic.database import Busy, Database, reason
from catalytic.service import Closed, Lattice, NotLoggedIn, Service, Taken, TooLarge, User
from catalytic.settings import Settings, SettingsAway

LARGEST_BODY_BYTES = 64 << 10

Email = Annotated[str, Field(max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f]+$")]
TenantName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class Registration(BaseModel):
    email: Email
    password: Annotated[str, Field(min_length=8, max_length=256)]
    tenant: TenantName | None = None


class Login(BaseModel):
    email: Email
    password: Annotated[str, Field(max_length=256)]


class NewLattice(BaseModel):
    dimensions: Annotated[int, Field(ge=1, le=lattice.MOST_DIMENSIONS)]
    size: Annotated[int, Field(ge=1, le=lattice.MOST_SIZE)]


# ── what a route is handed ───────────────────────────────────────────────────────────────────────


def service_of(request: Request) -> Service:
    return request.app.state.service


def address_of(request: Request) -> str | None:
    return None if request.client is None else request.client.host


Serving = Annotated[Service, Depends(service_of)]
Address = Annotated[str | None, Depends(address_of)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def user_of(service: Serving, credentials: Credentials) -> User:
    if credentials is None:
        raise NotLoggedIn("log in first, and send the token as Bearer")
    return service.holder(credentials.credentials)


LoggedIn = Annotated[User, Depends(user_of)]

# ── routes ───────────────────────────────────────────────────────────────────────────────────────

routes = APIRouter()


@routes.get("/health")
def health(service: Serving, response: Response) -> dict[str, str]:
    parts = {"database": "ok", "settings": "ok"}
    try:
        service.database.probe()
    except psycopg.Error as error:
        parts["database"] = reason(error)
    try:
        service.settings.probe()
    except SettingsAway as error:
        parts["settings"] = reason(error)
    well = set(parts.values()) == {"ok"}
    response.status_code = 200 if well else 503
    return {"status": "ok" if well else "down", **parts}


@routes.get("/metrics")
def metrics(request: Request) -> Response:
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


@routes.post("/register", status_code=201)
def register(service: Serving, wanted: Registration, address: Address) -> User:
    return service.register(wanted.email, wanted.password, wanted.tenant, address)


@routes.post("/login")
def login(service: Serving, wanted: Login, address: Address) -> dict[str, str]:
    return {"token": service.log_in(wanted.email, wanted.password, address), "token_type": "bearer"}


@routes.post("/lattices", status_code=201)
def create_lattice(service: Serving, user: LoggedIn, wanted: NewLattice, address: Address) -> Lattice:
    return service.create_lattice(user, wanted.dimensions, wanted.size, address)


@routes.get("/lattices")
def list_lattices(service: Serving, user: LoggedIn, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> list[Lattice]:
    return service.lattices(user, limit)


@routes.delete("/me", status_code=204)
def remove(service: Serving, user: LoggedIn) -> None:
    service.remove(user)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────

STATUS: dict[type[Exception], int] = {
    NotLoggedIn: 401,
    Closed: 403,
    Taken: 409,
    TooLarge: 422,
    Busy: 503,
    SettingsAway: 503,
    psycopg.Error: 503,
}
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}


def refuse(_: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    # How the tables are named is nobody's business but the operator's: /health says more.
    detail = "the database cannot answer now" if isinstance(error, psycopg.Error) else reason(error)
    return JSONResponse({"detail": detail}, status, headers=HEADERS.get(status))


def refuse_shape(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer repeats the input, and with it the password."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": [{"at": list(e["loc"]), "problem": e["msg"]} for e in error.errors()]}, 422)


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────


class Counts(Collector):
    """Counted when somebody asks. Without a database there are no numbers, rather than old ones or zeros."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        return []  # so that registering does not count

    def collect(self) -> Iterator[Metric]:
        try:
            counts = self._service.counts()
        except (psycopg.Error, Busy):
            counts = {}
        yield GaugeMetricFamily("catalytic_database_up", "1 when the rows could be counted.", value=int(bool(counts)))
        for table, rows in counts.items():
            yield GaugeMetricFamily(f"catalytic_{table}", f"Rows in {table}.", value=rows)


def bounded(request: Request) -> bool:
    """Whether the length of the body is known and reasonable."""
    length = request.headers.get("content-length", "0")
    known = length.isascii() and length.isdigit() and "transfer-encoding" not in request.headers
    return known and len(length) < 10 and int(length) <= LARGEST_BODY_BYTES


# ── all of it ────────────────────────────────────────────────────────────────────────────────────


def create_app(database: Database, settings: Settings) -> FastAPI:
    """The service, ready for uvicorn. Nothing is opened before the first request: it starts without a database too."""

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncGenerator[None]:
        yield
        database.close()
        settings.close()

    app = FastAPI(title="Catalytic Computing", lifespan=closing, docs_url=None, redoc_url=None)
    app.state.service = service = Service(database, settings)
    app.state.registry = registry = CollectorRegistry()
    registry.register(Counts(service))
    requests = Counter("catalytic_requests", "Requests.", ["method", "route", "status"], registry=registry)

    async def watch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Counts every request, and turns away what is too large to be read into memory."""
        refusal = JSONResponse({"detail": "the body is too large, or of unknown length"}, 413)
        response = await call_next(request) if bounded(request) else refusal
        route = getattr(request.scope.get("route"), "path", "(none)")
        method = request.method if request.method in ("GET", "POST", "DELETE") else "(other)"
        requests.labels(method, route, response.status_code).inc()
        return response

    app.middleware("http")(watch)
    app.include_router(routes)
    app.add_exception_handler(RequestValidationError, refuse_shape)
    for kind in STATUS:
        app.add_exception_handler(kind, refuse)
    return app
