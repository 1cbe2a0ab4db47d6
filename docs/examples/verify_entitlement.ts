// Checks an entitlement token without asking the service. Needs Node 22.18 or newer, and nothing else.
import { createPublicKey, verify } from "node:crypto";
export class EntitlementVerifier {
  epochs = new Map<string, number>(); // what GET entitlement-epochs told: user id -> lowest good epoch
  keys = new Map<string, object>();
  readAt = 0;
  service: string;
  wanted: Record<string, string>;
  constructor(service: string, projectId: string, mode = "live") {
    [this.service, this.wanted] = [service, { iss: service, aud: `entitlements:${projectId}`, mode }];
  }
  async verify(token: string): Promise<Record<string, any>> {
    const [head, body, signature] = token.split(".");
    const [header, claims] = [head, body].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
    if (header.typ !== "ent+jwt" || header.alg !== "EdDSA") throw new Error("another kind of token");
    const key = createPublicKey({ key: await this.keyOf(header.kid), format: "jwk" } as any);
    if (!verify(null, Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"))) throw new Error("a bad signature");
    for (const name in this.wanted) if (claims[name] !== this.wanted[name]) throw new Error(`another ${name}`);
    if (!(claims.exp > Date.now() / 1000)) throw new Error("too old");
    if (!(claims.epoch >= (this.epochs.get(claims.sub) ?? 0))) throw new Error("something was taken away since");
    return claims;
  }
  async keyOf(kid: string): Promise<object> {
    if (Date.now() - this.readAt > (this.keys.has(kid) ? 300_000 : 10_000)) {
      const found = await (await fetch(`${this.service}/.well-known/entitlements/jwks.json`)).json();
      [this.keys, this.readAt] = [new Map(found.keys.map((key: any) => [key.kid, key])), Date.now()];
    }
    return this.keys.get(kid) ?? Promise.reject(new Error("signed by an unknown key"));
  }
}
