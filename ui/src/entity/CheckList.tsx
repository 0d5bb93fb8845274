// Checks: a sentence each, what is normal beside it in grey.
import type { Check } from "../api/types";
import { stamp } from "../format";
import { useT, useText } from "../i18n";
import { AskWhy } from "../parts/AskWhy";
import { Rich, usePlain } from "../parts/rich";
import { State } from "../parts/state";

export function CheckList({ checks, entity }: { checks: readonly Check[]; entity: string }) {
  const t = useT();
  const say = useText();
  const plain = usePlain();
  return (
    <ul className="chk">
      {checks.map((check) => (
        <li key={`${check.metric}${check.text.en}`}>
          <State state={check.state} />
          <p>
            <Rich text={say(check.text)} />{" "}
            {check.since_ms ? <Rich text={t("entity.check_since", { time: stamp(check.since_ms) })} /> : null}{" "}
            <span className="dim">
              <Rich text={say(check.normal)} />
            </span>
            {check.metric && (check.state === "crit" || check.state === "warn") ? (
              <>
                {" "}
                <AskWhy entity={entity} metric={check.metric} what={plain(check.text)} />
              </>
            ) : null}
          </p>
        </li>
      ))}
    </ul>
  );
}
