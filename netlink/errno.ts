/** The errno values that this package tells apart. Source: asm-generic/errno-base.h and errno.h. */
export const ENOENT = 2;
export const EINTR = 4;
export const EAGAIN = 11;
export const EEXIST = 17;
export const EINVAL = 22;
export const EBADMSG = 74;
export const EAFNOSUPPORT = 97;
export const ENOBUFS = 105;
export const ETIMEDOUT = 110;
