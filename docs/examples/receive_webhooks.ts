// Receives webhooks. Needs Node 22.18 or newer and `npm install standardwebhooks`; runs with
// WEBHOOK_SECRET=whsec_... node receive_webhooks.ts 9000
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET!);
// An event may come twice. Keep its id in a table of yours with a unique key, and write it together with what the event changes.
const seen = new Set<string>();

// The data is the state when it was told: of two events that cross, believe the newer timestamp.
function handle(event: { type: string; timestamp: string; data: Record<string, any> }): void {
  console.log(event.type, event.timestamp, event.data.external_user_id ?? null);
}

createServer(async (request, response) => {
  // Verify the bytes as they came, before anything reads them.
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const headers = request.headers as Record<string, string>;
  let event: any;
  try {
    event = webhook.verify(Buffer.concat(chunks).toString(), headers);
  } catch {
    response.writeHead(400).end();
    return;
  }
  if (!seen.has(headers["webhook-id"])) {
    handle(event);
    seen.add(headers["webhook-id"]);
  }
  // 2xx for what was taken; for anything else the event comes again.
  response.writeHead(204).end();
}).listen(Number(process.argv[2]), "127.0.0.1");
