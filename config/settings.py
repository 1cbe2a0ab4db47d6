"""Settings, all of them. Values come from the environment; an odd value stops the start with a message that names it.

`make run` writes its generated environment to VAR_DIR/runtime.env, which is read here for whatever the environment leaves out,
so that manage.py in another terminal works on the running instance.
"""

import sys
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from common.encryption import parse_key_ring
from common.logs import logging_config
from config.environment import (
    MAIL_SECONDS,
    check_ed25519_keys,
    check_rsa_key,
    read_address,
    read_amounts,
    read_log_level,
    read_mail_settings,
    read_number,
    read_pairs,
    read_rate_limits,
    read_sender,
    read_token,
    read_word,
)
from config.error_reports import start_error_reports

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()
RUNTIME_ENV_FILE = VAR_DIR / "runtime.env"
if RUNTIME_ENV_FILE.exists() and "DATABASE_URL" not in env.ENVIRON:
    if RUNTIME_ENV_FILE.stat().st_mode & 0o077:
        raise ImproperlyConfigured(f"{RUNTIME_ENV_FILE} holds keys and can be read by others: chmod 600 it.")
    environ.Env.read_env(str(RUNTIME_ENV_FILE), overwrite=False)


def env_bool(name: str, default: bool) -> bool:
    """Read a switch; anything but true/false/1/0/yes/no/on/off is an error, not False."""
    text = env.str(name, default="true" if default else "false").strip().lower()
    if text in {"true", "1", "yes", "on"}:
        return True
    if text in {"false", "0", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")


def env_required(name: str) -> str:
    """Read a value that the service cannot run without."""
    value = env.str(name, default="").replace("\\n", "\n").strip()
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. Start `make run` first (in this folder, and with the same VAR_DIR if one is set), "
            "or set the environment of .env.example."
        )
    return value


DEMO = env_bool("DEMO", default=False)
DEBUG = env_bool("DEBUG", default=False)
SECRET_KEY = env_required("SECRET_KEY")
ENCRYPTION_KEYS = env_required("ENCRYPTION_KEYS")
OIDC_PRIVATE_KEY = env_required("OIDC_PRIVATE_KEY")
ENTITLEMENT_SIGNING_KEY = env_required("ENTITLEMENT_SIGNING_KEY")
PORT = read_number(env, "PORT", default=8000, at_least=1, at_most=65535)
PUBLIC_BASE_URL = read_address(env, "PUBLIC_BASE_URL", default=f"http://127.0.0.1:{PORT}", with_path=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]", "::1", "testserver"}
parse_key_ring(ENCRYPTION_KEYS)
check_rsa_key("OIDC_PRIVATE_KEY", OIDC_PRIVATE_KEY)
check_ed25519_keys("ENTITLEMENT_SIGNING_KEY", ENTITLEMENT_SIGNING_KEY)
# How long an entitlement token holds at most; no longer than revocation epochs are told (docs/entitlements.md).
ENTITLEMENT_TOKEN_SECONDS = read_number(env, "ENTITLEMENT_TOKEN_SECONDS", default=600, at_least=30, at_most=600)
if DEBUG and not set(ALLOWED_HOSTS) <= LOCAL_HOSTS:
    raise ImproperlyConfigured("DEBUG is on while ALLOWED_HOSTS names a host that is not this machine; turn DEBUG off.")
if DEMO and not set(ALLOWED_HOSTS) <= LOCAL_HOSTS:
    raise ImproperlyConfigured("DEMO is on while ALLOWED_HOSTS names a host that is not this machine; turn DEMO off.")
if not DEMO and (len(SECRET_KEY) < 40 or "insecure" in SECRET_KEY or SECRET_KEY in ENCRYPTION_KEYS):
    raise ImproperlyConfigured(
        "SECRET_KEY must be at least 40 random characters of its own, not a default and not an encryption key."
    )

OUR_APPS = [
    "common",
    "accounts",
    "projects",
    "notifications",
    "moderation",
    "entitlements",
    "licenses",
    "payments",
    "hosted",
    "backoffice",
]
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "allauth.idp.oidc",
    "auditlog",
    "django_structlog",
    "djstripe",
    *OUR_APPS,
]
MIDDLEWARE = [
    "config.health_middleware.HealthMiddleware",
    "config.metrics.RequestMetrics",
    "django.middleware.security.SecurityMiddleware",
    "config.content_policy.ContentPolicy",
    "payments.webhook_middleware.DeliveriesFirst",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "common.request_log.RequestLog",
    "projects.cors.CrossOrigin",
    "common.rate_limit_headers.RateLimitHeaders",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "common.audit.AuditContext",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# PostgreSQL. The pool replaces connections that a server restart broke; it forbids CONN_MAX_AGE > 0.
DATABASES = {"default": env.db_url("DATABASE_URL", default="postgres:///payments")}
DATABASES["default"]["ENGINE"] = "django.db.backends.postgresql"
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"].setdefault("OPTIONS", {})
# A migration must not keep webhooks behind the lock that it waits for, and may take its time once it has it.
MIGRATING = sys.argv[1:2] == ["migrate"] or sys.argv[1:2] == ["bootstrap"]
LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS = (2000, 0) if MIGRATING else (5000, 30_000)
DATABASES["default"]["OPTIONS"] |= {
    "connect_timeout": 3,
    "options": f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS} "
    "-c idle_in_transaction_session_timeout=60000",
}
if env_bool("DATABASE_POOL", default=True):
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": read_number(env, "DATABASE_POOL_SIZE", default=16, at_least=1, at_most=1000),
        "timeout": 3,
        # Pauses between attempts to reconnect double up to this: after a long outage everything is back within seconds.
        "reconnect_timeout": 5,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = read_address(env, "REDIS_URL", default="redis://127.0.0.1:6379/0", schemes=("redis", "rediss"))
# Rate limits and heartbeats. A frozen Redis must never hold a request for longer than this.
REDIS_SOCKET_TIMEOUT_SECONDS = 0.5
# Shared by all processes: authorization codes of the OAuth2 flow, which live a minute.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "payments",
        "OPTIONS": {
            "serializer": "common.cache.JsonSerializer",
            "socket_timeout": REDIS_SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": REDIS_SOCKET_TIMEOUT_SECONDS,
        },
    }
}

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/admin/"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["config.formats"]
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS = [path for path in [BASE_DIR / "static"] if path.exists()]
WHITENOISE_USE_FINDERS = True
# Django would redirect a path without its slash; a signed webhook must never be redirected (its body would be lost).
APPEND_SLASH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_THROTTLE_CLASSES": ["projects.action_limits.ActionThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["common.drf.NullableJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["common.drf_parsers.PlainJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "common.drf.OnlyJSON",
    "EXCEPTION_HANDLER": "common.drf.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "STRICT_JSON": True,
    "COERCE_DECIMAL_TO_STRING": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Payments",
    "DESCRIPTION": (
        "One self-hosted service that takes Stripe payments for every app its owner builds.\n\n"
        "Three kinds of bearer token, none of which passes for another: a **developer's** (sign in below, or OAuth2), a "
        "**server's** project API key (`ak_…`, for one mode), and an **end user's** (minted by your server with "
        "`POST /api/v1/projects/{id}/end-user-tokens`, or your own identity provider's)."
    ),
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "DEFAULT_GENERATOR_CLASS": "config.openapi.PaymentsSchemaGenerator",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.complete_document",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TransactionStatus": "payments.schema.PAYMENT_STATUSES",
        "WebhookEventStatus": "payments.webhook_schema.EVENT_STATUSES",
        "WebhookDeliveryStatus": "notifications.webhook_bodies.STATUSES",
        "CheckoutMode": ["subscription", "payment"],
        "LicenseStatus": "licenses.bodies.STATUSES",
        "LicenseStep": "licenses.bodies.STEPS",
        "KindEnum": "projects.models.ProviderKind",
        "CreditTransactionKind": "entitlements.credit_bodies.TRANSACTION_KINDS",
        "AlertKind": "notifications.settings_bodies.KINDS",
    },
}

# Bodies over this size are refused before they are read.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# A confirmation brings back the ids of up to a thousand chosen rows, and a few fields besides.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1100
WEBHOOK_MAX_BODY_BYTES = 1024 * 1024
WEBHOOK_SECRET_CACHE_SECONDS = 5

# Stripe. STRIPE_API_BASE unset means the real Stripe; the sandbox is reached by naming its address.
STRIPE_API_BASE = read_address(env, "STRIPE_API_BASE", default="")
STRIPE_API_VERSION = "2026-08-26.dahlia"
STRIPE_TIMEOUT_SECONDS = read_number(env, "STRIPE_TIMEOUT_SECONDS", default=20.0, at_least=0.1, at_most=80.0)
STRIPE_MAX_NETWORK_RETRIES = read_number(env, "STRIPE_MAX_NETWORK_RETRIES", default=2, at_least=0, at_most=5)
# How many calls a second the background may send to one account and mode, and to one of its endpoints; 0 = any number.
# Below what Stripe lets through, so that the dashboard and the app's own calls have room too.
STRIPE_CALLS_PER_SECOND_LIVE = read_number(env, "STRIPE_CALLS_PER_SECOND_LIVE", default=80, at_least=0, at_most=10_000)
STRIPE_CALLS_PER_SECOND_TEST = read_number(env, "STRIPE_CALLS_PER_SECOND_TEST", default=20, at_least=0, at_most=10_000)
STRIPE_CALLS_PER_SECOND_ENDPOINT = read_number(
    env, "STRIPE_CALLS_PER_SECOND_ENDPOINT", default=20, at_least=0, at_most=10_000
)
GITHUB_API_BASE = read_address(env, "GITHUB_API_BASE", default="https://api.github.com")
OUTGOING_ALLOWED_HOSTS = env.list("OUTGOING_ALLOWED_HOSTS", default=[])
# Apart from those: every developer may have a webhook endpoint called, and reads the beginning of its answer.
WEBHOOK_ALLOWED_HOSTS = env.list("WEBHOOK_ALLOWED_HOSTS", default=[])
TRUSTED_PROXY_COUNT = read_number(env, "TRUSTED_PROXY_COUNT", default=0, at_least=0, at_most=10)
CLOCK_FILE = env.str("CLOCK_FILE", default="")

# dj-stripe is the mirror only (payments/mirror.py): no keys, no urls, no event handlers.
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "djstripe_id"
# The same schema in one step: its own migrations take a minute on an empty database (docs/adr/0006).
MIGRATION_MODULES = {"djstripe": "payments.djstripe_migrations"}
STRIPE_LIVE_MODE = False
SILENCED_SYSTEM_CHECKS = ["djstripe.I001", "djstripe.C001", "djstripe.I002", "djstripe.W004"]

# Work on the inbox.
EVENT_LEASE_SECONDS = read_number(env, "EVENT_LEASE_SECONDS", default=30, at_least=1, at_most=3600)
EVENT_SWEEP_SECONDS = read_number(env, "EVENT_SWEEP_SECONDS", default=5, at_least=1, at_most=3600)
EVENT_MAX_ATTEMPTS = read_number(env, "EVENT_MAX_ATTEMPTS", default=8, at_least=1, at_most=100)
# Reconciliation: an event younger than this may still be delivered; how many objects a page of Stripe's lists holds.
RECONCILE_SETTLE_SECONDS = read_number(env, "RECONCILE_SETTLE_SECONDS", default=300, at_least=0, at_most=86_400)
RECONCILE_PAGE_SIZE = read_number(env, "RECONCILE_PAGE_SIZE", default=100, at_least=1, at_most=100)

# Effects that leave the service, mail among them. Without EMAIL_URL mails are kept as files and /readyz says so.
OUTBOX_MAX_ATTEMPTS = read_number(env, "OUTBOX_MAX_ATTEMPTS", default=20, at_least=1, at_most=100)
vars().update(read_mail_settings(env, "EMAIL_URL", unsent_dir=VAR_DIR / "mail"))
EMAIL_TIMEOUT = MAIL_SECONDS
DEFAULT_FROM_EMAIL = read_sender(env, "DEFAULT_FROM_EMAIL", default="payments@localhost")
# Which project (by slug or id) may send from which domains: whoever sends in a name must be allowed to by its DNS.
MAIL_FROM_DOMAINS = read_pairs(env, "MAIL_FROM_DOMAINS")
# The bodies of events are emptied after so long; Stripe itself lists events for 30 days.
EVENT_BODY_RETENTION_DAYS = read_number(env, "EVENT_BODY_RETENTION_DAYS", default=90, at_least=1, at_most=3650)
# Entries of the audit log hold staff's addresses. The database itself keeps each for 90 days at the least.
AUDIT_LOG_RETENTION_DAYS = read_number(env, "AUDIT_LOG_RETENTION_DAYS", default=730, at_least=90, at_most=3650)
# Single reports of usage are folded into their totals after so long, with their keys. Longer than a report's time may lie back.
USAGE_EVENT_RETENTION_DAYS = read_number(env, "USAGE_EVENT_RETENTION_DAYS", default=90, at_least=36, at_most=3650)

# Token budgets: what happens while Redis is away, and how often what was used is written to PostgreSQL (docs/tokens.md).
TOKEN_BUDGET_FAIL_MODE: str = read_word(env, "TOKEN_BUDGET_FAIL_MODE", default="closed", words=("closed", "open"))
TOKEN_JOURNAL_SECONDS = read_number(env, "TOKEN_JOURNAL_SECONDS", default=0.5, at_least=0.05, at_most=1.0)
# Every process that spends tokens writes the journal, one at a time; tests write it when they say so.
TOKEN_JOURNAL_THREAD = True

# allauth: the OAuth2 and OpenID provider for developers.
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
IDP_OIDC_PRIVATE_KEY = OIDC_PRIVATE_KEY
IDP_OIDC_ACCESS_TOKEN_FORMAT = "jwt"
IDP_OIDC_ACCESS_TOKEN_EXPIRES_IN = 900
IDP_OIDC_ADAPTER = "accounts.oidc.OidcAdapter"
IDP_OIDC_ROTATE_REFRESH_TOKEN = True
IDP_OIDC_REFRESH_TOKEN_EXPIRES_IN = 30 * 86400
AUTHENTICATION_BACKENDS = ["accounts.backends.LimitedBackend"]

# Browser safety.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
HTTPS_ONLY = PUBLIC_BASE_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SESSION_COOKIE_NAME = "__Host-sessionid" if HTTPS_ONLY else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if HTTPS_ONLY else "csrftoken"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [PUBLIC_BASE_URL]
CSRF_FAILURE_VIEW = "config.failures.form_refused"
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# The audit log of changed rows (backoffice/audited.py).
AUDITLOG_CID_GETTER = "common.audit.request_id"

LOG_LEVEL = read_log_level(env, "LOG_LEVEL", default="INFO")
LOGGING = logging_config(level=LOG_LEVEL)
# Rate limits by name (docs/operations.md): amount and seconds that replace what the code declares.
RATE_LIMITS = read_rate_limits(env, "RATE_LIMITS")

# Metrics. Without a token /metrics does not exist; a worker tells what it counted on METRICS_PORT, for the monitoring alone.
METRICS_TOKEN = read_token(env, "METRICS_TOKEN")
METRICS_PORT = read_number(env, "METRICS_PORT", default=0, at_least=0, at_most=65535)
METRICS_HOST = env.str("METRICS_HOST", default="127.0.0.1")
# Where the processes of a machine add up what they count. The library reads the variable as well, when it is first imported.
PROMETHEUS_MULTIPROC_DIR = env.str("PROMETHEUS_MULTIPROC_DIR", default="")
if PROMETHEUS_MULTIPROC_DIR:
    Path(PROMETHEUS_MULTIPROC_DIR).mkdir(parents=True, exist_ok=True)

# Reports of unexpected errors; nothing is sent anywhere without an address.
SENTRY_DSN = read_address(env, "SENTRY_DSN", default="", schemes=("https", "http"))
SENTRY_ENVIRONMENT = env.str("SENTRY_ENVIRONMENT", default="demo" if DEMO else "production")
RELEASE = env.str("RELEASE", default="")
if SENTRY_DSN:
    start_error_reports(dsn=SENTRY_DSN, environment=SENTRY_ENVIRONMENT, release=RELEASE)
# What moderators may give away; the role Admin and superusers have no limits (docs/back-office.md). Minor units by currency,
# of one payment and of all that one person refunds in 24 hours; a currency that is not named is refunded by the role Admin only.
MODERATOR_REFUND_LIMITS = read_amounts(
    env, "MODERATOR_REFUND_LIMITS", default="usd=10000,eur=10000,gbp=10000,chf=10000,cad=15000,aud=15000,jpy=15000"
)
MODERATOR_REFUND_LIMITS_DAY = read_amounts(
    env, "MODERATOR_REFUND_LIMITS_DAY", default="usd=50000,eur=50000,gbp=50000,chf=50000,cad=75000,aud=75000,jpy=75000"
)
MODERATOR_CREDITS_LIMIT_DAY = read_number(env, "MODERATOR_CREDITS_LIMIT_DAY", default=10_000, at_least=0, at_most=10**9)
MODERATOR_FREE_DAYS_LIMIT = read_number(env, "MODERATOR_FREE_DAYS_LIMIT", default=31, at_least=0, at_most=365)
MODERATOR_FREE_DAYS_LIMIT_DAY = read_number(
    env, "MODERATOR_FREE_DAYS_LIMIT_DAY", default=310, at_least=0, at_most=100_000
)
MODERATOR_PLANS_LIMIT_DAY = read_number(env, "MODERATOR_PLANS_LIMIT_DAY", default=5, at_least=0, at_most=100_000)
UNFOLD = {
    "SITE_TITLE": "Payments",
    "SITE_HEADER": "Payments",
    "SITE_SUBHEADER": "Every project, one desk",
    "SITE_SYMBOL": "payments",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("backoffice/icon.svg")}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "backoffice.dashboard.fill_dashboard",
    "STYLES": [lambda request: static("backoffice/desk.css")],
    "SIDEBAR": {"show_search": True, "show_all_applications": True, "navigation": "backoffice.navigation.sidebar"},
}
RUNNING_TESTS = "pytest" in sys.modules
# Lets a test kill the process at named places (common/failpoints.py); never outside the demo and tests.
FAILPOINTS = env_bool("FAILPOINTS", default=False)
if FAILPOINTS and not (DEMO or RUNNING_TESTS):
    raise ImproperlyConfigured("FAILPOINTS is for tests only: leave it unset.")

# Celery. The database row is the record of work, a message is a hint: JSON only, no results, no waiting for a broker.
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": REDIS_SOCKET_TIMEOUT_SECONDS,
    "socket_connect_timeout": REDIS_SOCKET_TIMEOUT_SECONDS,
    "retry_on_timeout": False,
    "global_keyprefix": "celery:",
}
CELERY_BROKER_CONNECTION_TIMEOUT = REDIS_SOCKET_TIMEOUT_SECONDS
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_EVENT_SERIALIZER = "json"
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = read_number(env, "WORKER_CONCURRENCY", default=8, at_least=1, at_most=1000)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
