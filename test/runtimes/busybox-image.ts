/** A container image made here, since none can be relied upon to be pulled: Debian's static busybox as an OCI image archive (image-spec 1.0). */
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runOk } from "../harness/command.ts";

export const imageName = "trireme.test/busybox:1";

/** Ends at SIGTERM at once, which a bare `sleep` as process 1 doesn't. */
const pause = ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"];

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** Writes `archive` (a tar for `ctr images import`), with work files in `folder`. */
export async function makeImage(folder: string, archive: string): Promise<void> {
  const blobs = join(folder, "image/blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const addBlob = (kind: string, bytes: Buffer): Descriptor => {
    const digest = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(blobs, digest), bytes);
    return { mediaType: `application/vnd.oci.image.${kind}`, digest: `sha256:${digest}`, size: bytes.length };
  };
  const addJson = (kind: string, value: object): Descriptor =>
    addBlob(`${kind}+json`, Buffer.from(JSON.stringify(value)));

  const layer = addBlob("layer.v1.tar", await makeLayer(folder));
  const config = addJson("config.v1", {
    architecture: "amd64",
    os: "linux",
    config: { Entrypoint: pause },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  });
  const manifest = addJson("manifest.v1", { schemaVersion: 2, config, layers: [layer] });
  const annotations = { "io.containerd.image.name": imageName, "org.opencontainers.image.ref.name": "1" };
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] };
  writeFileSync(join(folder, "image/index.json"), JSON.stringify(index));
  writeFileSync(join(folder, "image/oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await runOk(["tar", "-C", join(folder, "image"), "-cf", archive, "."]);
}

async function makeLayer(folder: string): Promise<Buffer> {
  const root = join(folder, "root");
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp"])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  for (const applet of ["sh", "sleep"]) symlinkSync("busybox", join(root, "bin", applet));
  const tar = join(folder, "layer.tar");
  await runOk(["tar", "-C", root, "--owner=0", "--group=0", "-cf", tar, "."]);
  return readFileSync(tar);
}
