"""A Django site that wants https, beside a WebSocket: `django_site.py PORT` prints its port, then serves.

`/` is a page, `/form` takes a POST, `/events` streams Server-Sent Events, `/socket` echoes messages of up
to 16 MB as a notebook server does.
"""

import asyncio
import sys

import django
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

PORT = int(sys.argv[1])

settings.configure(
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="no secret of anybody",
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware"],
    SECURE_SSL_REDIRECT=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
)
django.setup()


def page(request):
    answer = HttpResponse(f"secure: {request.is_secure()}, of {request.get_host()}")
    answer.set_cookie("visits", int(request.COOKIES.get("visits", 0)) + 1)
    return answer


@csrf_exempt
def form(request):
    return HttpResponse(request.body[::-1])


def events(_):
    async def stream():
        for number in range(3):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.05)
        # As any stream of events, it has no end of its own.
        await asyncio.sleep(3600)

    return StreamingHttpResponse(stream(), content_type="text/event-stream")


urlpatterns = [path("", page), path("form", form), path("events", events)]
site = get_asgi_application()


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return await site(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        data = {key: message.get(key) for key in ("text", "bytes")}
        await send({"type": "websocket.send", **data})


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(PORT, flush=True)


# Without its own word of whom it trusts, as Django looks for itself.
config = uvicorn.Config(
    application,
    port=PORT,
    log_level="warning",
    lifespan="off",
    proxy_headers=False,
    ws_max_size=16 << 20,
    timeout_graceful_shutdown=1,
)
Server(config).run()
