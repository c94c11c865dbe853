// The widgets' files are joined and given to the browser as one module; here some names of that module are taken out.

import { readFileSync } from "node:fs";

export async function load(names, ...files) {
  const folder = new URL("../../widgets/agentlab_widgets/", import.meta.url);
  const text = files.map((file) => readFileSync(new URL(file, folder), "utf8")).join("\n");
  const module = `${text.replace("export default", "const shown =")}\nexport { ${names.join(", ")} };`;
  return import(`data:text/javascript,${encodeURIComponent(module)}`);
}
