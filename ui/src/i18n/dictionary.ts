// Every word of the interface, English and Chinese side by side so that neither can lack one.
// **strong**, `code` and !!critical!! are markup.
import { agent } from "./words/agent";
import { entity } from "./words/entity";
import { explore } from "./words/explore";
import { frame } from "./words/frame";
import { incident } from "./words/incident";
import { map } from "./words/map";
import { now } from "./words/now";

export const dictionary = { ...frame, ...now, ...incident, ...map, ...entity, ...explore, ...agent };
