// Sentences of the dictionary with a little markup: **strong**, `code`, !!critical!!.

const MARK = /(\*\*.+?\*\*|`.+?`|!!.+?!!)/g;

export function Rich({ text }: { text: string }) {
  return (
    <>
      {text.split(MARK).map((part, index) => {
        if (part.startsWith("**")) return <b key={index}>{part.slice(2, -2)}</b>;
        if (part.startsWith("`")) return <code key={index}>{part.slice(1, -1)}</code>;
        if (part.startsWith("!!"))
          return (
            <span key={index} className="crit">
              {part.slice(2, -2)}
            </span>
          );
        return part;
      })}
    </>
  );
}
