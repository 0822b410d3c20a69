/** Injected before everything else into each bundle: the native addon travels as bytes. */
import bytes from "../../netlink/prebuilds/linux-x64/netlink.node";
import { setAddonBytes } from "../../netlink/addon.ts";

setAddonBytes(bytes);
