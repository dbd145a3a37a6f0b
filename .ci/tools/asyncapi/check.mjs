// SPDX-License-Identifier: Apache-2.0
//
// Hold files against AsyncAPI, with the parser of its makers: errors and warnings fail.
import { readFileSync } from 'node:fs';
import asyncapi from '@asyncapi/parser';

const severities = ['error', 'warning'];
let wrong = 0;
for (const file of process.argv.slice(2)) {
  const { diagnostics } = await new asyncapi.Parser().parse(readFileSync(file, 'utf8'), { source: file });
  for (const d of diagnostics.filter((d) => d.severity < severities.length)) {
    wrong++;
    console.error(`${file}:${d.range.start.line + 1}: ${severities[d.severity]}: ${d.message} (${d.code}, ${d.path.join('.')})`);
  }
}
process.exit(wrong ? 1 : 0);
