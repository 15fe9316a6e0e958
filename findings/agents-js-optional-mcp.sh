#!/bin/sh
# @openai/agents-core 0.20.0 (npm): @modelcontextprotocol/client is among its optionalDependencies, and
# cannot be left out: one static import of it under Node makes every import of the package fail, of
# @openai/agents-realtime too, which needs nothing of it. All its other uses are imported on demand,
# with a message of what to install, that is never reached.
#
# npm leaves an optional package out without an error if it cannot be installed, or by --omit=optional,
# and its documentation of package.json says under optionalDependencies: "It is still your program's
# responsibility to handle the lack of the dependency." A small image of a voice agent builds without
# an error, and does not start.
#
# Seen: @openai/agents-core and @openai/agents-realtime 0.20.0, Node 20.20.2, npm 11.19.1:
#     without optional packages: npm ends well; both imports raise ERR_MODULE_NOT_FOUND ("Cannot find
#     package '@modelcontextprotocol/client' imported from ...")
#     with them: both are imported
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Node 20 or later with npm, and a package registry. (openai 7, of theirs, asks for Node 22.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json

cat > show.mjs <<'NODE'
// Imports both packages; its argument says whether the optional ones are there.
import { readFileSync } from "node:fs";

const manifest = "node_modules/@openai/agents-core/package.json";
const { version, optionalDependencies } = JSON.parse(readFileSync(manifest, "utf8"));
const there = process.argv[2] === "with";
console.log(`@openai/agents-core ${version}, ${process.argv[2]} optional packages:`);
console.log("    optional:", Object.keys(optionalDependencies).join(", "));
let asStated = "@modelcontextprotocol/client" in optionalDependencies;
for (const name of ["@openai/agents-core", "@openai/agents-realtime"]) {
  let seen = "imported";
  try {
    await import(name);
  } catch (error) {
    const lacks = /package '([^']*)'/.exec(error.message)?.[1];
    seen = `${error.code}, ${lacks ?? error.message}`;
  }
  console.log(`    ${name}: ${seen}`);
  const expected = "ERR_MODULE_NOT_FOUND, @modelcontextprotocol/client";
  asStated &&= seen === (there ? "imported" : expected);
}
process.exit(asStated ? 0 : 1);
NODE

code=0
for side in without with; do
    omit=""
    [ "$side" = with ] || omit=--omit=optional
    npm install --silent --no-audit --no-fund $omit \
        @openai/agents-core@0.20.0 @openai/agents-realtime@0.20.0 zod@4.6.7 || exit 2
    node show.mjs "$side" || code=1
done
[ "$code" = 0 ] && echo "as stated" || echo "NOT as stated"
exit $code
