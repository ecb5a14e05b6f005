#!/bin/sh
# Starts Triton as `edgeapp near-edge serve` does: mutual TLS, explicit models, doors shut, metrics on loopback.
set -eu
: "${ADMIN_KEY:=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')}" # of this start alone, and never printed
exec tritonserver --model-repository=/models --model-control-mode=explicit \
  --load-model=detector --load-model=rest --load-model=stt --load-model=tts --load-model=llm \
  --disable-auto-complete-config --exit-timeout-secs=10 --allow-http=false \
  --grpc-address=0.0.0.0 --grpc-port=8001 --metrics-address=127.0.0.1 --metrics-port=8002 \
  --grpc-use-ssl=true --grpc-use-ssl-mutual=true --grpc-root-cert=/tls/ca.pem \
  --grpc-server-cert=/tls/server.pem --grpc-server-key=/tls/server.key \
  --grpc-max-response-pool-size=64 \
  --grpc-restricted-protocol="model-repository,shared-memory,logging,trace:admin-key=${ADMIN_KEY}"
