#!/usr/bin/env bash
# The first minutes of a new user, with curl: register, make a key, look at the balance, buy credits, see them arrive.
# KAI_URL is the server, STRIPE_FAKE the fake that stands in for Stripe.
set -euo pipefail

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
json='Content-Type: application/json'

JWT=$(curl -sS --fail-with-body "$KAI_URL/v1/auth/register" -H "$json" \
  -d '{"email":"jenny.rosen@example.com","password":"a-long-password"}' | field access_token)
KAI_KEY=$(curl -sS --fail-with-body "$KAI_URL/v1/auth/api-keys" -H "Authorization: Bearer $JWT" -H "$json" \
  -d '{"name":"my-first-bot"}' | field api_key)
echo "key ${KAI_KEY:0:8}…"

balance() { curl -sS --fail-with-body "$KAI_URL/v1/billing/balance" -H "Authorization: Bearer $KAI_KEY" | field balance_micros; }
echo "balance before: $(balance)"

begun=$(curl -sS --fail-with-body "$KAI_URL/v1/billing/stripe/checkout" -H "Authorization: Bearer $KAI_KEY" -H "$json" \
  -H 'Idempotency-Key: "my-first-top-up"' -d '{"amount_cents": 2500}')
again=$(curl -sS --fail-with-body "$KAI_URL/v1/billing/stripe/checkout" -H "Authorization: Bearer $KAI_KEY" -H "$json" \
  -H 'Idempotency-Key: "my-first-top-up"' -d '{"amount_cents": 2500}')
[ "$begun" = "$again" ]
echo "checkout: $(field checkout_url <<<"$begun")"
session=$(field session_id <<<"$begun")

# The customer pays on Stripe's page, and Stripe tells of it: twice, as it sometimes does.
events=$(curl -sS --fail-with-body "$STRIPE_FAKE/_fake/sessions/$session/pay" -d '' |
  python3 -c 'import json, sys; print(",".join(json.load(sys.stdin)["events"] * 2))')
curl -sS --fail-with-body "$STRIPE_FAKE/_fake/deliver" -d "url=$KAI_URL/v1/billing/stripe/webhook" \
  --data-urlencode "secret=$WEBHOOK_SECRET" -d "events=$events"
echo
echo "balance after: $(balance)"
curl -sS --fail-with-body "$KAI_URL/v1/billing/statement" -H "Authorization: Bearer $KAI_KEY"
curl -sS --fail-with-body "$KAI_URL/v1/me" -H "Authorization: Bearer $KAI_KEY"
