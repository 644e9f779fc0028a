#!/bin/sh
# Speaks to rustc like a C compiler and to ld.lld like one too: Android's target wants a compiler, and there is none here.
set -- "$@" --end--
while [ "$1" != --end-- ]; do
  case "$1" in
    -Wl,*) IFS=,; for p in ${1#-Wl,}; do set -- "$@" "$p"; done; unset IFS ;;
    -nodefaultlibs|-nostartfiles|-fuse-ld=*|--target=*|-m*|-static-libgcc|-pie) ;;
    -lc|-lm|-ldl|-llog|-lgcc|-lunwind) ;;
    *) set -- "$@" "$1" ;;
  esac
  shift
done
shift
exec "$DRAFTHORSE_LLD" -m "$DRAFTHORSE_LLD_EMULATION" --hash-style=gnu --eh-frame-hdr --build-id=sha1 "$@"
