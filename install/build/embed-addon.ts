/** Injected before everything else into each bundle: native code travels as bytes. */
import digest from "../../enforcer/digest/prebuilds/linux-x64/digest.node";
import { setDigestBytes } from "../../enforcer/digest/digest.ts";
import netlink from "../../netlink/prebuilds/linux-x64/netlink.node";
import { setAddonBytes } from "../../netlink/addon.ts";

setAddonBytes(netlink);
setDigestBytes(digest);
