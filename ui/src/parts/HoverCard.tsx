// The card of an entity under a resting pointer: what it is and whether it is well. Only a help for the eye; the link itself
// says the same to a screen reader and opens the page.
import { useEffect, useState } from "react";
import { useEntity } from "../api/queries";
import { useT, useText } from "../i18n";
import { namesOf } from "../map/names";
import { useTime } from "../time/useTime";
import { Icon, typeIcon } from "./icons";
import { Rich } from "./rich";
import { ofEntity, State } from "./state";

const REST_MS = 450;
const WIDTH = 300;

interface At {
  id: string;
  x: number;
  y: number;
}

export function HoverCard() {
  const [at, setAt] = useState<At | null>(null);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hide = () => {
      clearTimeout(timer);
      setAt(null);
    };
    const over = (event: PointerEvent) => {
      const target = (event.target as Element).closest?.<HTMLElement>("[data-entity]");
      hide();
      if (!target || event.pointerType === "touch") return;
      timer = setTimeout(() => {
        const rect = target.getBoundingClientRect();
        const below = rect.bottom + 130 < window.innerHeight;
        setAt({
          id: target.dataset.entity!,
          x: Math.max(8, Math.min(rect.left, window.innerWidth - WIDTH - 8)),
          y: below ? rect.bottom + 6 : rect.top - 126,
        });
      }, REST_MS);
    };
    document.addEventListener("pointerover", over);
    document.addEventListener("scroll", hide, true);
    document.addEventListener("keydown", hide);
    document.addEventListener("pointerdown", hide);
    return () => {
      hide();
      document.removeEventListener("pointerover", over);
      document.removeEventListener("scroll", hide, true);
      document.removeEventListener("keydown", hide);
      document.removeEventListener("pointerdown", hide);
    };
  }, []);
  return at ? <Card at={at} /> : null;
}

function Card({ at }: { at: At }) {
  const t = useT();
  const say = useText();
  const time = useTime();
  const detail = useEntity(at.id, time.at);
  if (!detail.data) return null;
  const { entity, checks } = detail.data;
  const names = namesOf(entity);
  const state = ofEntity(entity, checks);
  return (
    <div className="card" aria-hidden="true" style={{ left: at.x, top: at.y, width: WIDTH }}>
      <p className="ent">
        <Icon name={typeIcon(entity.type)} /> <span className="en">{names.name}</span>
        <small>{[names.sub, entity.type === "host" ? "" : entity.host_name].filter(Boolean).join(" · ")}</small>
      </p>
      <p>
        <State state={state} /> {checks[0] ? <Rich text={say(checks[0].text)} /> : t(`state.${state}`)}
      </p>
      <p className="lab mono cut">{entity.id}</p>
    </div>
  );
}
