# One image for web, worker and beat; docker-compose.yml says which is which.
FROM python:3.11-slim AS build
WORKDIR /app
COPY requirements/run.lock requirements/run.lock
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/run.lock

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /app payments
WORKDIR /app
COPY --from=build /venv /venv
COPY --chown=root:root . .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 VAR_DIR=/tmp/payments
# collectstatic reads no secret and no database; the values below exist only for this step.
RUN OIDC_PRIVATE_KEY="$(python -c 'from config.runtime_env import new_rsa_key; print(new_rsa_key())')" \
    ENTITLEMENT_SIGNING_KEY="$(python -c 'from config.runtime_env import new_ed25519_key; print(new_ed25519_key())')" \
    SECRET_KEY=build-step-only-0123456789-0123456789-0123456789 ENCRYPTION_KEYS=b1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    DATABASE_URL=postgres://unused@127.0.0.1:9/unused DATABASE_POOL=false \
    python manage.py collectstatic --noinput --skip-checks
USER payments
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/healthz', headers={'Host': os.environ['ALLOWED_HOSTS'].split(',')[0]}), timeout=2)"]
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "16", "--no-ws", "config.wsgi:application"]
