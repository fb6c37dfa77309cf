#!/bin/bash
# Runs a command on a machine that has the real Linux `st` tape driver, whatever the host's kernel has.
#
# The machine is user-mode Linux: a kernel run as a process, without KVM, root or image. Its root directory is the
# host's / under a scratch layer, so every program of the host can be named by its own path, and nothing written
# reaches the host except in the directory given with -w. The command runs as the guest's root in the current
# directory and finds /dev/st0, /dev/nst0 (and /dev/nst1 ... with -n), and TAPEVM_CTL, the directory of the drives'
# control files (0.ctl, 1.ctl: see vtape.c). Its standard output, standard error and exit status are this script's.
#
# usage: run.sh [options] [--] COMMAND [ARGUMENT...]
#   -n N        drives (1)
#   -s MIB      capacity of a tape (64)         -e MIB   early warning before its end (1)
#   -o N:ARGS   further arguments of drive N's vtape, such as 1:-P
#   -w DIR      writable directory (the current one)
#   -t SEC      limit for the machine's run, boot included (120)
#   -m MIB      guest memory (512)              -v       the guest's kernel log on standard error
# exit status: the command's; 124 out of time; 125 the machine or its drives did not come up
#
# Debian 12 packages: user-mode-linux kmod busybox-static gcc libc6-dev
set -u
me=$(readlink -f "$0")
die() { echo "tapevm: $*" >&2; exit 125; }

# ---------------------------------------------------------------- inside: this script is the guest's init
load_modules() { local m; for m; do modprobe -d "$MODROOT" "$m" || echo "no module $m"; done; }

drives() {
	load_modules target_core_user tcm_loop
	mount -t configfs none /sys/kernel/config
	local t=/sys/kernel/config/target i b uio
	mkdir -p /run/vtape
	for ((i = 0; i < DRIVES; i++)); do
		b=$t/core/user_$i/tape$i
		mkdir -p "$b"
		echo "dev_config=vtape/tape$i,dev_size=1048576,hw_block_size=512" >"$b/control"
		echo 1 >"$b/enable"
		uio=$(grep -l "/tape$i/" /sys/class/uio/*/name) && uio=${uio%/name}
		# shellcheck disable=SC2086 # several arguments
		"$WORK/vtape" -c $((CAPACITY << 20)) -e $((EARLY << 20)) ${OPTIONS[i]-} "/dev/${uio##*/}" /run/vtape/$i.ctl /run/vtape/$i.tap &
		while ! grep -qs uio /proc/$!/maps && kill -0 $!; do sleep 0.1; done	# it serves from here on
		mkdir -p $t/loopback/naa.500000000000000$i/tpgt_1
		echo naa.600000000000000$i >$t/loopback/naa.500000000000000$i/tpgt_1/nexus
		mkdir $t/loopback/naa.500000000000000$i/tpgt_1/lun/lun_0
		ln -s "$b" $t/loopback/naa.500000000000000$i/tpgt_1/lun/lun_0/tape
	done
}

enter_overlay() {	# puts a scratch layer over the host's read-only root, and starts over in there
	mount -t tmpfs scratch /mnt && mkdir /mnt/upper /mnt/work /mnt/root
	load_modules overlay
	mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root || exit
	mount -t proc proc /mnt/root/proc && mount -t sysfs sys /mnt/root/sys && mount -t devtmpfs dev /mnt/root/dev
	mount -t tmpfs run /mnt/root/run && mount -t tmpfs tmp /mnt/root/mnt
	mkdir -p /mnt/root/dev/shm && mount -t tmpfs shm /mnt/root/dev/shm
	TAPEVM_INSIDE=1 exec chroot /mnt/root "$me"
}

guest() {
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
	local i status=125
	# shellcheck disable=SC1091 # written below
	. "$TAPEVM_RUN/settings"
	[ "${TAPEVM_INSIDE-}" ] || enter_overlay
	stty -F /dev/tty1 raw
	stty -F /dev/tty2 raw
	printf '#!/bin/sh\nexec /sbin/modprobe -d %q "$@"\n' "$MODROOT" >/run/modprobe && chmod +x /run/modprobe
	echo /run/modprobe >/proc/sys/kernel/modprobe		# for modules the kernel itself asks for
	mkdir -p /run/tapevm "$WRITABLE"
	mount -t hostfs none /run/tapevm -o "$TAPEVM_RUN"
	mount -t hostfs none "$WRITABLE" -o "$WRITABLE"
	load_modules st
	drives
	for ((i = 0; i < 300; i++)); do [ -e /dev/nst$((DRIVES - 1)) ] && break; sleep 0.1; done
	if [ -e /dev/nst$((DRIVES - 1)) ]; then
		export TAPEVM_CTL=/run/vtape
		(unset TAPEVM_RUN TAPEVM_INSIDE; cd "$CWD" && exec "${COMMAND[@]}") </dev/null >/dev/tty1 2>/dev/tty2
		status=$?
	else
		echo "tapevm: no /dev/nst$((DRIVES - 1))"
	fi
	echo $status >/run/tapevm/status
	sync
	busybox poweroff -f
}
if [ $$ = 1 ] && [ "${TAPEVM_RUN-}" ]; then guest; fi

# ---------------------------------------------------------------- outside
DRIVES=1 CAPACITY=64 EARLY=1 MEMORY=512 LIMIT=120 WRITABLE=$PWD OPTIONS=() verbose=''
while getopts n:s:e:o:w:t:m:v o; do
	case $o in
	n) DRIVES=$OPTARG ;; s) CAPACITY=$OPTARG ;; e) EARLY=$OPTARG ;; t) LIMIT=$OPTARG ;; m) MEMORY=$OPTARG ;;
	o) OPTIONS[${OPTARG%%:*}]=${OPTARG#*:} ;;
	w) WRITABLE=$(readlink -f "$OPTARG") ;;
	v) verbose=1 ;;
	*) sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$me"; exit 125 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || die "no command (see the head of $me)"
COMMAND=("$@") CWD=$PWD

linux=$(command -v linux.uml) || die "no user-mode Linux (Debian package user-mode-linux)"
modules=$(find /usr/lib/uml/modules -mindepth 1 -maxdepth 1 -type d 2>/dev/null | sort -V | tail -1)
[ "$modules" ] || die "user-mode Linux has no modules"
for program in busybox depmod cc; do command -v $program >/dev/null || die "no program $program"; done

WORK=$(mktemp -d "${TMPDIR:-/tmp}/tapevm.XXXXXX") || die "no temporary directory"
vm_pid=
clean() {
	local p
	[ "$vm_pid" ] && kill -TERM "$vm_pid" 2>/dev/null && wait "$vm_pid" 2>/dev/null
	for p in /proc/[0-9]*; do	# a machine that was killed hard leaves helpers: they carry this run's directory's name
		grep -qsF "TAPEVM_RUN=$WORK" "$p/cmdline" && kill -KILL "${p#/proc/}"
	done
	rm -rf "$WORK"
}
trap clean EXIT
trap 'exit 143' TERM INT HUP

cc -O2 -Wall -static -o "$WORK/vtape" "$(dirname "$me")/vtape.c" || die "vtape did not build"
MODROOT=$WORK/modules
mkdir -p "$MODROOT/lib/modules" && ln -s "$modules" "$MODROOT/lib/modules/${modules##*/}"
[ -e "$modules/modules.dep" ] || depmod -b "$MODROOT" "${modules##*/}" || die "depmod failed"

declare -p DRIVES CAPACITY EARLY OPTIONS WRITABLE WORK MODROOT COMMAND CWD >"$WORK/settings"
SECONDS=0
memory_dir=/dev/shm	# the machine's memory is a file there
[ "$(df --output=avail $memory_dir 2>/dev/null | tail -1)" -ge $((MEMORY << 10)) ] 2>/dev/null || memory_dir=$WORK
(
	TMPDIR=$memory_dir exec timeout -k 5 "$LIMIT" "$linux" mem="$MEMORY"M rootfstype=hostfs rootflags=/ ro init="$me" \
		TAPEVM_RUN="$WORK" uml_dir="$WORK/" con=null con0=null,fd:1 con1=null,fd:3 con2=null,fd:4 \
		3>&1 4>&2 >"$WORK/log" 2>&1 </dev/null
) &
vm_pid=$!
wait $vm_pid
rc=$? vm_pid=
if [ "$verbose" ]; then cat "$WORK/log" >&2; fi
if [ -s "$WORK/status" ]; then
	status=$(cat "$WORK/status")
	if [ "$status" = 125 ] && [ ! "$verbose" ]; then grep -v '^ ' "$WORK/log" | tail -20 >&2; fi
	exit "$status"
fi
if [ $SECONDS -ge "$LIMIT" ]; then echo "tapevm: out of time ($LIMIT s)" >&2; exit 124; fi
if [ ! "$verbose" ]; then grep -v '^ ' "$WORK/log" | tail -20 >&2; fi
die "the machine stopped without a result (status $rc)"
