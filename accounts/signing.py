"""The RS256 keys of IDP_OIDC_PRIVATE_KEY: they sign developer and end-user tokens and are published at /.well-known/jwks.json.

What a token is good for is said by its `typ` and `aud`, never by its key alone.
"""

import functools
import time
import uuid
from typing import Any

import jwt
from allauth.core.internal.jwkkit import load_jwk_from_pem
from allauth.idp.oidc.adapter import get_adapter
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from common.strict_jwt import ParsedToken, TokenRefused, verify

ALGORITHM = "RS256"


@functools.lru_cache(maxsize=8)
def _load(pem: str) -> tuple[str, RSAPrivateKey, RSAPublicKey]:
    jwk, private_key = load_jwk_from_pem(pem)
    return str(jwk["kid"]), private_key, private_key.public_key()


def sign_token(*, typ: str, claims: dict[str, Any], ttl_seconds: int) -> str:
    """Sign a token of one kind with the newest key; adds iss, iat, exp and jti."""
    adapter = get_adapter()
    kid, private_key, _ = _load(adapter.get_signing_key().pem)
    issued_at = int(time.time())
    times = {"iss": adapter.get_issuer(), "iat": issued_at, "exp": issued_at + ttl_seconds, "jti": uuid.uuid4().hex}
    return jwt.encode({**times, **claims}, private_key, algorithm=ALGORITHM, headers={"kid": kid, "typ": typ})


def verify_own_token(token: ParsedToken, *, typ: str, audience: str) -> dict[str, Any]:
    """Check a token that says it is ours. Raises TokenRefused unless kind, key, audience and issuer are right."""
    if token.header.get("typ") != typ or token.header["alg"] != ALGORITHM:
        raise TokenRefused("another kind of token")
    # A list of audiences would let one token be good in two places.
    if token.claims.get("aud") != audience:
        raise TokenRefused("another audience")
    adapter = get_adapter()
    for key in adapter.list_private_keys(is_active=True):
        kid, _, public_key = _load(key.pem)
        if kid == token.kid:
            return verify(token, key=public_key, algorithms=[ALGORITHM], audience=audience, issuer=adapter.get_issuer())
    raise TokenRefused("signed by a key that is not ours")
