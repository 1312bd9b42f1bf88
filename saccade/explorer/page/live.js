// The page of a running explorer.

import { start } from "./main.js";
import { Server } from "./source.js";

start(new Server());
