/** Labels of four sources: merged key by key, the first source that has a key wins. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { collectLabels } from "../../plugin/labels.ts";

const key = fc.stringMatching(/^[a-z]{1,3}$/);
const value = fc.stringMatching(/^[A-Z]{0,3}$/);
const labels = fc.dictionary(key, value, { maxKeys: 6, noNullPrototype: true });

it("merges as an object spread in reverse order of precedence does", () => {
  fc.assert(
    fc.property(labels, labels, labels, labels, (attributes, args, cniArgs, annotation) => {
      const text = Object.entries(cniArgs)
        .map(([name, text]) => `${name}:${text}`)
        .join(",");
      const merged = collectLabels({
        attributes,
        args: { cni: { labels: Object.entries(args).map(([name, text]) => ({ key: name, value: text })) } },
        cniArgs: new Map([["TRIREME_LABELS", text]]),
        runtimeConfig: {
          "io.kubernetes.cri.pod-annotations": { "trireme-cni/labels": JSON.stringify(annotation) },
        },
      });
      expect({ ...merged }).toEqual({ ...annotation, ...cniArgs, ...args, ...attributes });
    }),
  );
});

it("takes the text behind the first colon as value", () => {
  const cniArgs = new Map([["TRIREME_LABELS", "a:b:c,d:"]]);
  const merged = collectLabels({ attributes: undefined, args: undefined, runtimeConfig: undefined, cniArgs });
  expect({ ...merged }).toEqual({ a: "b:c", d: "" });
});
