// A voice agent as its users write one: @openai/agents-realtime, a tool, nothing else configured.
//
// Reads lines of JSON, what the person does: {"sound": base64} or {"text": words}. Writes lines of
// JSON, what the application sees, whenever that has changed. Ends when stdin does.
import { createInterface } from 'node:readline';
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';

const [connect, instructions, about] = process.argv.slice(2);
const seen = { history: [], sound: 0, errors: [] };
const tell = () => process.stdout.write(JSON.stringify(seen) + '\n');

const { name, description, parameters, result } = JSON.parse(about);
const agent = new RealtimeAgent({
  name: 'assistant',
  instructions,
  tools: [tool({ name, description, parameters, strict: false, execute: async () => result })],
});
const session = new RealtimeSession(agent, { transport: 'websocket' });

session.on('history_updated', (history) => { seen.history = history; tell(); });
session.on('audio', (event) => { seen.sound += event.data.byteLength; tell(); });
session.on('error', (error) => { seen.errors.push(JSON.stringify(error)); tell(); });

await eval(connect); // as the documentation has it
tell();
for await (const line of createInterface({ input: process.stdin })) {
  const did = JSON.parse(line);
  if (did.text) session.sendMessage(did.text);
  else session.sendAudio(Uint8Array.from(Buffer.from(did.sound, 'base64')).buffer);
}
session.close();
