"""Checks an entitlement token without asking the service. Needs PyJWT: pip install "pyjwt[crypto]"."""

import jwt


class EntitlementVerifier:
    """Knows one service, one project and one mode. `epochs` is what GET entitlement-epochs told: user id -> lowest good epoch."""

    def __init__(self, service: str, project_id: str, mode: str = "live") -> None:
        self.service, self.audience, self.mode = service, f"entitlements:{project_id}", mode
        self.keys = jwt.PyJWKClient(f"{service}/.well-known/entitlements/jwks.json", lifespan=300)
        self.epochs: dict[str, int] = {}

    def verify(self, token: str) -> dict:
        """Return the claims (sub, plan, plan_active, features, limits, ...). Raises jwt.InvalidTokenError."""
        if jwt.get_unverified_header(token).get("typ") != "ent+jwt":
            raise jwt.InvalidTokenError("another kind of token")
        claims = jwt.decode(
            token,
            self.keys.get_signing_key_from_jwt(token),
            algorithms=["EdDSA"],
            audience=self.audience,
            issuer=self.service,
            options={"require": ["exp", "iat", "sub", "mode", "epoch"], "strict_aud": True},
        )
        if claims["mode"] != self.mode:
            raise jwt.InvalidTokenError("a token of the other mode")
        if claims["epoch"] < self.epochs.get(claims["sub"], 0):
            raise jwt.InvalidTokenError("something was taken away since this token was made")
        return claims
