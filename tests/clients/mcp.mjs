// A voice agent with a hosted MCP tool, as users of @openai/agents-realtime write one.
//
// Approves what it is asked to. Writes the history as a line of JSON once the answer is there.
import { hostedMcpTool } from '@openai/agents-core';
import { RealtimeAgent, RealtimeSession } from '@openai/agents-realtime';

const [url, serverUrl, question, last] = process.argv.slice(2);
const agent = new RealtimeAgent({
  name: 'assistant',
  tools: [hostedMcpTool({ serverLabel: 'own', serverUrl, requireApproval: 'always' })],
});
const session = new RealtimeSession(agent, { transport: 'websocket' });
const seen = { tools: [], errors: [], history: [] };
const done = () => { console.log(JSON.stringify(seen)); session.close(); process.exit(0); };
session.on('error', (error) => { seen.errors.push(JSON.stringify(error)); done(); });
session.on('mcp_tools_changed', (tools) => {
  if (!seen.tools.length) session.sendMessage(question);
  seen.tools = tools.map((tool) => tool.name);
});
session.on('tool_approval_requested', (_context, _agent, request) => {
  session.approve(request.approvalItem);
});
session.on('history_updated', (history) => {
  seen.history = history;
  if (JSON.stringify(history).includes(last)) setTimeout(done, 200);
});
await session.connect({ apiKey: 'none', url });
