"""Stripe's own library against the fake: makes, reads and lists, meets each kind of error, verifies webhooks.

Usage: official.py BASE SECRET_KEY
"""

import http.server
import json
import sys
import threading
import urllib.parse
import urllib.request

import stripe

base, key = sys.argv[1:3]
SECRET = "whsec_test_secret"
ODD = "~*é 🎉 &=+%[]\"'<>/?#;:@!$(),|\\^`{}"


def client(secret_key=key, retries=0):
    return stripe.StripeClient(secret_key, base_addresses={"api": base}, max_network_retries=retries)


def checkout(**changes):
    price = {"currency": "usd", "unit_amount": 2500, "product_data": {"name": ODD}}
    request = {
        "mode": "payment",
        "success_url": "https://example.com/success?a=b&session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://example.com/cancel#back",
        "client_reference_id": "user-1 *~",
        "customer_email": "a+b@example.com",
        "line_items": [{"quantity": 1, "price_data": price}],
        "metadata": {"user_id": "1", "note": ODD},
        "payment_intent_data": {"metadata": {"user_id": "1", "note": ODD}},
    }
    return {**request, **changes}


def fake(path, **form):
    data = urllib.parse.urlencode(form).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{base}/_fake/{path}", data=data) as answer:
        return json.load(answer)


def refused(kind, act, **expected):
    try:
        act()
    except kind as error:
        for name, value in expected.items():
            assert getattr(error, name) == value, (error, name, getattr(error, name))
        return
    raise AssertionError(f"no {kind.__name__}")


def sessions_and_errors():
    sessions = client().v1.checkout.sessions
    made = sessions.create(checkout(), {"idempotency_key": "order-1"})
    assert isinstance(made, stripe.checkout.Session) and made.id.startswith("cs_test_"), made
    assert (made.amount_total, made.currency, made.status, made.payment_status) == (2500, "usd", "open", "unpaid")
    assert made.metadata["note"] == ODD and made.url.startswith("https://checkout.stripe.com/")
    again = sessions.create(checkout(), {"idempotency_key": "order-1"})
    assert again.id == made.id and again.last_response.headers["idempotent-replayed"] == "true"
    found = sessions.retrieve(made.id, {"expand": ["line_items"]})
    assert found.line_items.data[0].description == ODD and found.line_items.data[0].amount_total == 2500
    assert sessions.create(checkout(), {"idempotency_key": "order-2"}).id != made.id

    other = checkout(client_reference_id="user-2")
    refused(stripe.IdempotencyError, lambda: sessions.create(other, {"idempotency_key": "order-1"}), http_status=400)
    wrong = client("sk_test_wrong").v1.checkout.sessions
    refused(stripe.AuthenticationError, lambda: wrong.create(checkout()), http_status=401)
    missing = lambda: sessions.retrieve("cs_test_nothing")
    refused(stripe.InvalidRequestError, missing, http_status=404, code="resource_missing", param="session")
    for changes, code, param in [
        ({"success_url": ""}, "parameter_missing", "success_url"),
        ({"success_url": "nowhere"}, "url_invalid", "success_url"),
        ({"unknown": "1"}, "parameter_unknown", "unknown"),
        ({"customer_email": "nobody"}, "email_invalid", "customer_email"),
        ({"line_items": []}, "parameter_missing", "line_items[0][price_data][currency]"),
    ]:
        act = lambda: sessions.create(checkout(**changes))
        refused(stripe.InvalidRequestError, act, http_status=400, code=code, param=param)

    fake("spoil", status=429)
    refused(stripe.RateLimitError, lambda: sessions.create(checkout()), http_status=429)
    fake("spoil", status=500)
    refused(stripe.APIError, lambda: sessions.create(checkout()), http_status=500)
    before = len(sessions.list({"limit": 100}).data)
    fake("spoil", status=500, done="true", times=2)
    client(retries=3).v1.checkout.sessions.create(checkout())
    assert len(sessions.list({"limit": 100}).data) == before + 1, "the library's own retries made more than one"

    closed = sessions.expire(again.id)
    assert closed.status == "expired"
    refused(stripe.InvalidRequestError, lambda: sessions.expire(again.id, options={"idempotency_key": "x"}), http_status=400)


def events():
    api = client().v1
    told = []
    for nth in range(15):
        session = api.checkout.sessions.create(checkout())
        told += fake(f"sessions/{session.id}/pay")["events"]
        told += fake(f"sessions/{session.id}/refund", cents=nth + 1)["events"]
    paid, refund = api.events.retrieve(told[-2]), api.events.retrieve(told[-1])
    assert paid.type == "checkout.session.completed" and paid.data.object.payment_status == "paid"
    assert isinstance(refund.data.object, stripe.Charge) and refund.data.object.amount_refunded == 15
    assert refund.data.object.metadata["note"] == ODD
    newest = api.events.list({"limit": 30})
    assert [event.id for event in newest.data] == told[::-1] and newest.has_more
    paged = [event.id for event in api.events.list({"limit": 4, "types": ["charge.refunded"]}).auto_paging_iter()]
    assert paged == told[::-1][::2], paged
    since = api.events.list({"limit": 4, "ending_before": told[0]})
    assert [event.id for event in since.data] == told[4:0:-1] and since.has_more
    forward = [event.id for event in since.auto_paging_iter()]
    assert forward == told[1:], "the library walks forwards from a cursor"
    both = {"ending_before": told[0], "starting_after": told[1]}
    refused(stripe.InvalidRequestError, lambda: api.events.list(both), http_status=400)
    refused(stripe.InvalidRequestError, lambda: api.events.list({"limit": 101}), http_status=400, param="limit")
    return told[-2]


def webhooks(event_id):
    got = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((body, self.headers["stripe-signature"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    assert fake("deliver", url=url, secret=SECRET, events=f"{event_id},{event_id}")["statuses"] == [200, 200]
    for body, signature in got:
        event = client().construct_event(body, signature, SECRET)
        assert event.id == event_id and event.data.object.object == "checkout.session"
    body, signature = got[0]
    bad = stripe.SignatureVerificationError
    refused(bad, lambda: client().construct_event(body + b" ", signature, SECRET))
    refused(bad, lambda: client().construct_event(body, signature, "whsec_another"))
    fake("deliver", url=url, secret=SECRET, events=event_id, signed_at=1700000000)
    refused(bad, lambda: client().construct_event(*got[2], SECRET))
    server.shutdown()


sessions_and_errors()
webhooks(events())
print(f"stripe {stripe.VERSION}: the fake passes")
