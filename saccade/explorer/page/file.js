// The page of a file: everything that was recorded is inside.

import { start } from "./main.js";
import { Recorded } from "./recorded.js";

start(new Recorded(JSON.parse(document.getElementById("data").textContent)));
