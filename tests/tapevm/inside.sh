#!/bin/bash
# The checks of the `st` driver, run as root inside of the machine that run.sh makes; check.sh starts it.
# usage: inside.sh BINARY WORD...        the words: the checks to run (all)
#
# Drive 0 is a good one with a cartridge of 24 MiB that warns 6 MiB before its end. Drive 1 knows no positions, takes
# records up to 128 KiB, and warns 256 KiB before its end, which is less than what is on its way to the tape.
# The drives themselves count how many records they are made to read.
set -u
binary=$1
shift
wanted=" ${*:-} "
export TAPEDUMP_STATE=/run/state LC_ALL=C
drive=/dev/nst0 poor=/dev/nst1
passed=0 failed=0
work=/run/work
mkdir -p $work $TAPEDUMP_STATE
cd $work || exit 125

say_passed() { passed=$((passed + 1)); echo "passed  $*"; }
say_failed() {
	failed=$((failed + 1))
	echo "FAILED  $*"
	sed 's/^/        /' $work/out $work/err 2>/dev/null | tail -30
}
check() {	# check DESCRIPTION COMMAND...: the command succeeds
	local what=$1
	shift
	if "$@"; then say_passed "$what"; else say_failed "$what"; fi
}
run() {	# run CODE ARGUMENT...: the program ends with this exit code
	local code=$1 got
	shift
	timeout -k 5 100 "$binary" "$@" >$work/out 2>$work/err
	got=$?
	[ $got = "$code" ] && return
	echo "tapedump $*: exit code $got instead of $code" >>$work/err
	return 1
}
says() {	# says WORDS: the last run said so
	grep -qiF -- "$1" $work/err $work/out && return
	echo "it did not say '$1'" >>$work/err
	return 1
}
# For the drive's next command; added to what it has not obeyed yet.
control() { printf '%s\n' "${@:2}" >>/run/vtape/"$1".ctl; }
cartridge() {	# cartridge DRIVE NAME: puts a cartridge in, a new one where there is none of the name
	control "$1" "load /run/vtape/$2.tap" 'wp 0' 'fail 0 0 0 0 0 0'
}
new_cartridge() { rm -f /run/vtape/"$2".tap; cartridge "$1" "$2"; }
shape() { (cd "$1" && find . -printf '%p %y %m %U:%G %T@ %l ' \( -type f -printf '%s %n' -o -true \) -printf '\n' | sort); }
same_tree() {
	shape "$1" >shape.1 && shape "$2" >shape.2 && diff shape.1 shape.2 >$work/err && diff -r --no-dereference --exclude=fifo "$1" "$2" >>$work/err
}
restored_same() {	# restored_same TREE ARGUMENT...
	rm -rf $work/to
	run 0 restore --to $work/to "${@:2}" && same_tree "$1" $work/to
}
whole_files() {	# whole_files TREE: how many files of the tree are in to/ and equal
	local file count=0
	for file in "$1"/f*; do cmp -s "$file" "$work/to/${file##*/}" && count=$((count + 1)); done
	echo $count
}
some_whole() {	# some_whole TREE CODE ARGUMENT...: a restore that ends with CODE, and brings at least 10 files
	local count
	rm -rf $work/to
	run "$2" restore --to $work/to "${@:3}"  || return
	count=$(whole_files "$1")
	[ "$count" -ge 10 ] && return
	echo "only $count files were restored" >>$work/err
	return 1
}

make_trees() {
	local i
	mkdir -p small/dir/deeper big other
	head -c 3000000 /dev/urandom >small/random
	head -c 70000 /dev/zero >small/dir/zeros
	truncate -s 5M small/dir/holes && echo data | dd of=small/dir/holes bs=1 seek=2000000 conv=notrunc status=none
	: >small/dir/deeper/empty
	ln small/random small/dir/linked && ln -s ../random small/dir/link && mkfifo small/dir/fifo
	chmod 4751 small/dir/zeros && chown 12:34 small/dir/deeper
	for i in $(seq 400); do echo "$i" >small/dir/deeper/n$i; done
	for i in $(seq 10 69); do head -c 524288 /dev/urandom >big/f$i; done
	echo other >other/file
	mkdir third && cp -a small/dir/deeper third/ && echo third >third/file
	# Microseconds, as third-party programs keep; and read once, so that the access times, which are on the tape, stay.
	find small big other third -exec touch -h -d '2001-02-03 04:05:06.789012' {} +
	sleep 0.1
	cp -a small big other third /dev/shm/ && rm -rf /dev/shm/*
}

check_round_trips() {
	local b
	export SOURCE_DATE_EPOCH=1000000000 TAPEDUMP_DUMP_ID=00112233445566778899aabbccddeeff
	for b in 4 64 256; do
		new_cartridge 0 a
		check "dump with blocking factor $b" run 0 dump --live small -t $drive -b $b
		check "restore with blocking factor $b" restored_same small -t $drive
		rm -rf virtual
		"$binary" tape create $work/virtual >out && run 0 dump --live small -t $work/virtual -b $b
		check "dd reads from the cartridge what a virtual tape holds (factor $b)" same_as_virtual $b
		check "Debian restore reads the cartridge (factor $b)" debian_reads small $b
	done
	check 'verify against the tree' run 0 verify -t $drive --against small
	unset SOURCE_DATE_EPOCH TAPEDUMP_DUMP_ID
}
same_as_virtual() {
	mt-st -f $drive rewind && dd if=$drive of=image bs=$(($1 * 1024)) 2>$work/err && cmp image virtual/file-0000.tape >>$work/err 2>&1
}
debian_reads() {	# debian_reads TREE BLOCKING-FACTOR OPTION...
	rm -rf to && mkdir to
	mt-st -f $drive rewind && (cd to && restore -rf $drive -b "$2" "${@:3}" >$work/out 2>$work/err) && rm -f to/restoresymtable && touch -r "$1" to &&
		same_tree "$1" to
}

check_several() {
	new_cartridge 0 a
	check 'first dump' run 0 dump --live small -t $drive
	check 'a tape that holds data is refused' run 3 dump --live other -t $drive
	check '  and the ways out are named' says '--append'
	check 'second dump behind it' run 0 dump --live other -t $drive --append -b 4
	check 'third dump behind it' run 0 dump --live third -t $drive --append -b 256
	check 'first one by its number' restored_same small -t $drive --file 0
	check 'second one by its number, behind the catalog of the first' restored_same other -t $drive --file 2
	check 'third one by its number' restored_same third -t $drive --file 4
	check 'the last one without a number' restored_same third -t $drive
	check 'Debian restore reads the second one by its number' debian_reads other 4 -s 3
	check 'a number too large' run 3 list -t $drive --file 6
	check '  is said' says 'no tape file 6'
	check 'the number of a catalog' run 3 list -t $drive --file 3
	check '  is said' says 'tape file 3 is the catalog of a dump'
	check 'overwriting' run 0 dump --live other -t $drive --overwrite
	check '  leaves one dump' restored_same other -t $drive
	check '  and no more' run 3 list -t $drive --file 2
	check 'ejecting at the end' run 0 dump --live other -t $drive --overwrite --eject
	check '  empties the drive' run 3 list -t $drive
	check '  which is said' says 'no cartridge'
}

check_end_of_medium() {
	new_cartridge 0 full
	check 'a dump that does not fit' run 3 dump --live big -t $drive
	check '  says which tape is full' says "$drive: the tape is full"
	check '  and is readable up to there' some_whole big 1 -t $drive
	new_cartridge 1 full
	check 'a dump that does not fit, with hardly any warning' run 3 dump --live big -t $poor
	check '  says on which drive the tape is full' says "$poor: the tape is full"
	check '  and is readable up to there' some_whole big 1 -t $poor
	new_cartridge 0 full
	check 'a dump that ends behind the early warning' run 0 dump --live small -t $drive
	for _ in 1 2 3 4 5; do run 0 dump --live small -t $drive --append; done
	check '  is whole' restored_same small -t $drive
}

check_errors() {
	new_cartridge 0 bad
	control 0 'fail 0a 150 1 3 0c 00'
	check 'a write error in the middle' run 3 dump --live big -t $drive
	check '  is said' says 'cannot write'
	check '  and the tape is readable up to there' some_whole big 1 -t $drive
	new_cartridge 0 good
	mkdir -p part && cp -a big/f[12]* part/
	run 0 dump --live part -t $drive
	control 0 'fail 08 40 2 3 11 00'
	check 'a read error in the middle' some_whole part 1 -t $drive
	check '  is named' says 'cannot be read'
	control 0 'fail 08 40 1 b 4b 00'
	check 'a disturbed transfer is done again' restored_same part -t $drive
	new_cartridge 0 good
	control 0 'fail 10 0 1 4 44 00'
	check 'a filemark that cannot be written' run 3 dump --live small -t $drive
	new_cartridge 1 good
	run 0 dump --live part -t $poor
	control 1 'fail 08 40 2 3 11 00'
	check 'a read error on a drive without positions' some_whole part 1 -t $poor
}

check_cartridges() {
	control 0 eject
	check 'an empty drive, dump' run 3 dump --live small -t $drive
	check '  is said' says 'no cartridge'
	check 'an empty drive, restore' run 3 restore -t $drive --to $work/to
	check '  is said' says 'no cartridge'
	new_cartridge 0 foreign
	tar -cf $drive other
	check 'a cartridge with something else, dump' run 3 dump --live small -t $drive
	check '  is refused' says 'holds data'
	check 'a cartridge with something else, restore' run 3 restore -t $drive --to $work/to
	check '  is said' says 'holds no dump'
	new_cartridge 0 protected
	run 0 dump --live other -t $drive
	control 0 'wp 1'
	check 'a write-protected cartridge, dump' run 3 dump --live small -t $drive --overwrite
	check '  is said' says 'write-protected'
	check 'a write-protected cartridge, restore' restored_same other -t $drive
	new_cartridge 0 blank
	check 'a blank cartridge, restore' run 3 restore -t $drive --to $work/to
	check '  is said' says 'blank'
}

check_changes() {
	new_cartridge 0 one
	control 0 'eject-after 100'
	check 'a cartridge removed in the middle of a dump' run 3 dump --live big -t $drive
	check '  is said' says 'removed'
	cartridge 0 one
	check '  and it is readable up to there' some_whole big 1 -t $drive
	new_cartridge 0 two
	run 0 dump --live other -t $drive
	cp /run/vtape/two.tap two.before
	new_cartridge 0 one
	control 0 'load-after 100 /run/vtape/two.tap'
	check 'a cartridge changed in the middle of a dump' run 3 dump --live big -t $drive
	check '  is said' says 'changed'
	check '  and the other one is as it was' cmp two.before /run/vtape/two.tap
	new_cartridge 0 one
	run 0 dump --live small -t $drive
	control 0 'eject-after 20'
	rm -rf to
	check 'a cartridge removed in the middle of a restore' run 3 restore -t $drive --to $work/to
	check '  is said' says 'removed'
	cartridge 0 one
	run 0 list -t $drive
	control 0 'load-after 20 /run/vtape/two.tap'
	rm -rf to
	check 'a cartridge changed in the middle of a restore' run 3 restore -t $drive --to $work/to
	check '  is said' says 'changed'
	new_cartridge 0 one
	killed_dump
	check 'a dump that was killed is readable up to there' some_whole big 1 -t $drive
}
killed_dump() {
	"$binary" dump --live big -t $drive >out 2>err &
	for _ in $(seq 200); do
		sleep 0.05
		[ "$(stat -c %s /run/vtape/one.tap)" -gt 12000000 ] && break
	done
	kill -KILL $! && wait $! 2>/dev/null
}

check_record_lengths() {
	new_cartridge 1 long
	check 'a record too long for the drive' run 3 dump --live small -t $poor -b 256
	check '  names the factor that is not' says '--blocking-factor 128 or less'
	check 'the longest one it takes' run 0 dump --live small -t $poor -b 128
	check '  is read' restored_same small -t $poor
	new_cartridge 0 long
	run 0 dump --live small -t $drive -b 256
	control 0 eject
	run 3 list -t $drive
	cartridge 1 long
	check 'a tape with records too long to read' run 3 restore -t $poor --to $work/to
	check '  names the factor' says 'blocking factor is above 128'
	new_cartridge 0 long
	dd if=/dev/zero of=$drive bs=1M count=3 status=none
	check 'records of 1 MiB that are no dump' run 3 list -t $drive
	check '  are said to be none' says 'holds no dump'
}

check_devices() {
	new_cartridge 0 a
	check 'a device that is not there' run 3 dump --live other -t /dev/nst9
	check '  is said' says 'no such device'
	check '  and not made' test ! -e /dev/nst9
	mknod nst9 c 9 137
	check 'a device without a drive' run 3 dump --live other -t $work/nst9
	check '  is said' says 'no drive'
	check 'what is not a tape drive' run 3 dump --live other -t /dev/null
	check '  is said' says 'not a tape drive'
	check 'a directory' run 3 dump --live other -t /usr
	check '  is not a tape' says 'not a'
	check 'a rewinding device' run 3 dump --live other -t /dev/st0
	check '  names the right one' says 'use /dev/nst0'
	(exec 9<$drive; sleep 3) &
	sleep 1
	check 'a busy drive' run 3 dump --live other -t $drive
	check '  is said' says 'another program'
	wait
	check 'the same drive afterwards' run 0 dump --live other -t $drive
}

check_information() {
	new_cartridge 0 info
	check 'a blank cartridge is shown' run 0 tape info $drive
	check '  as blank' says 'blank'
	run 0 dump --live small -t $drive && run 0 dump --live other -t $drive --append -b 4 && run 0 dump --live third -t $drive --append -b 256
	check 'a cartridge with three dumps is shown' run 0 tape info $drive
	check '  with its first file' says 'records of 65536 bytes'
	check '  and its last one' grep -qx 'file 4 .* in [0-9]* records of 262144 bytes' out
	check '  as JSON' run 0 tape info $drive --json
	check '  with what dd reads of the second one' says "\"record_len\":4096,\"records\":$(records_of 2 4096),"
	check 'a dump behind it' run 0 dump --live other -t $drive --append
	check '  is the fourth' restored_same other -t $drive -f 6
	new_cartridge 1 info
	run 0 dump --live third -t $poor
	check 'a cartridge in a drive without positions is shown' run 0 tape info $poor
	check '  with its file' says 'records of 65536 bytes'
	check 'a rewinding device is not shown' run 3 tape info /dev/st0
	check 'erasing' run 0 tape erase $drive
	check '  makes it blank' run 3 list -t $drive
	check '  which is said' says 'the tape is blank'
	check 'a dump on what was erased' run 0 dump --live other -t $drive
	control 0 'wp 1'
	check 'erasing what is write-protected' run 3 tape erase $drive
	check '  is refused' says 'write-protected'
	control 0 'wp 0'
	check '  and left as it is' restored_same other -t $drive
	check 'a cartridge is not removed from the library' run 3 tape erase $drive --remove
	check 'a cartridge is not labelled' run 3 tape label $drive text
	check '  and what to do is said' says 'dump --label'
	check 'ejecting' run 0 tape eject $drive
	check '  empties the drive' run 3 tape info $drive
	check '  which is said' says "$drive: there is no cartridge"
	check 'ejecting from an empty drive' run 0 tape eject $drive
	check 'ejecting what is no drive' run 3 tape eject /dev/null
}
records_of() { mt-st -f $drive rewind && mt-st -f $drive fsf "$1" && dd if=$drive of=/dev/null bs="$2" 2>&1 | sed -n 's/^\([0-9]*\)+0 records in/\1/p'; }

# The changers are shell commands: one puts in what is wanted by its number, the other one what comes next on a pile.
by_number='echo "load /run/vtape/vol$TAPEDUMP_NUMBER.tap" >>/run/vtape/0.ctl'
from_pile='head -1 pile | grep . && sed -n 1p pile | sed "s,.*,load /run/vtape/&.tap," >>/run/vtape/0.ctl && sed -i 1d pile'
pile() { printf '%s\n' "$@" >pile; }
make_volumes() {	# cartridges vol1 to vol3 with a dump of Debian's on three tapes
	local number loop
	/run/modprobe loop
	mke2fs -q -F -t ext4 -d spanned image.ext4 16M >out 2>err && loop=$(losetup --find --show --read-only image.ext4) &&
		dump -0 -q -M -B 2000 -b 32 -f volume "$loop" >out 2>err || say_failed 'a dump on three tapes'
	for number in 1 2 3; do
		new_cartridge 0 vol$number
		dd if=volume00$number of=$drive bs=32k status=none
	done
}
same_files() {
	run "$1" restore --to $work/to "${@:2}" && diff -r --exclude=lost+found spanned to >>err
}
check_changer() {
	mkdir -p spanned && cp -a big/f1* spanned/
	rm -rf to
	make_volumes
	cartridge 0 vol1
	check 'a dump on three cartridges, with a changer' same_files 0 -t $drive --changer "$by_number"
	check '  goes on on the last one' says "tape 3: $drive"
	cartridge 0 vol1
	rm -rf to
	check 'without a changer' run 1 restore --to $work/to -t $drive
	check '  it ends with the first one, which is said' says 'further --tape'
	cartridge 0 vol1
	pile vol3 vol2 vol1 vol3
	rm -rf to
	check 'wrong cartridges among them' same_files 0 -t $drive -t $drive --changer "$from_pile"
	check '  are passed over' says 'this is not tape 2'
	cartridge 0 vol1
	pile vol3
	rm -rf to
	check 'a changer that has no more' run 3 restore --to $work/to -t $drive --changer "$from_pile"
	check '  is said' says 'brought no other cartridge'
	control 0 eject
	rm -f /run/vtape/blank.tap
	pile vol2 blank
	export TAPEDUMP_CHANGER=$from_pile
	check 'an empty drive, then a cartridge with data, then a blank one' run 0 dump --live small -t $drive
	check '  which gets the dump' restored_same small -t $drive
	control 0 'wp 1'
	rm -f /run/vtape/fresh.tap
	pile fresh
	TAPEDUMP_CHANGER="$from_pile; echo wp 0 >>/run/vtape/0.ctl"
	check 'a write-protected cartridge, then another one' run 0 dump --live other -t $drive --overwrite
	check '  which gets the dump' restored_same other -t $drive
	check '  while the first one stays' cartridge_holds blank small
	new_cartridge 0 empty
	pile fresh
	check 'a blank cartridge, restore' restored_same other -t $drive
	unset TAPEDUMP_CHANGER
	check 'a changer for what is in no drive' run 3 dump --live other -t ./file --changer "$from_pile"
	check '  is refused' says 'for tape drives'
	check '  before anything is made' test ! -e file
}
cartridge_holds() { cartridge 0 "$1" && restored_same "$2" -t $drive && cartridge 0 fresh; }

# From here on, what the drive does is counted; it gets to know with its next command.
count() { rm -f /run/counts && control "$1" 'count /run/counts'; }
counted() {	# counted read|spaced|located
	local read spaced located
	read -r read spaced located </run/counts && echo "${!1}"
}
straight_to() {	# straight_to DRIVE DEVICE MOST PATH: restores the path, as it is in grown/, with so many records read at most
	local told read
	rm -rf to expected
	count "$1"
	run 0 restore "$4" -t "$2" --to to || return
	# It tells when it went past anything; and does not count what finding the dump takes.
	told=$(sed -n 's/^went straight to it: \([0-9]*\) tape records* read$/\1/p' err) read=$(counted read)
	echo "        the drive has read $read of $all records for $4; the program tells ${told:-nothing}" | tee -a err
	[ "$read" -le "$3" ] && [ "${told:-1}" -gt 0 ] && [ "${told:-1}" -le "$read" ] || return
	mkdir -p "expected/$(dirname "$4")" && cp -a grown/"$4" expected/"$4" && touch -r to expected &&
		if [ "$(dirname "$4")" != . ]; then touch -r grown/"$(dirname "$4")" expected/"$(dirname "$4")"; fi && same_tree expected to
}
check_levels() {
	levels_on 0 $drive
	levels_on 1 $poor
	check '  and a drive without positions is not asked for any' test "$(counted located)" = 0
}
levels_on() {	# levels_on DRIVE DEVICE: levels 0, 1 and 2 behind each other
	local few=30
	rm -rf grown && mkdir -p grown/sub/deep && cp -a big/f[123]* grown/ && cp -a small/dir/deeper/n1* grown/sub/deep/
	new_cartridge "$1" levels
	# What changes in the second of a dump is taken by the next one, too.
	sleep 1.1
	check "level 0 on $2" run 0 dump --live grown -t "$2" -L 0
	echo new >grown/f13 && rm grown/f14 && mv grown/f15 grown/sub/moved && ln grown/f16 grown/sub/linked && mkdir grown/late
	sleep 1.1
	check '  level 1 behind it' run 0 dump --live grown -t "$2" -L 1 --append
	echo newer >>grown/f13 && mv grown/sub/deep grown/late/ && rm grown/late/deep/n11 && echo late >grown/late/late && chmod 600 grown/f17
	sleep 1.1
	check '  level 2 behind it' run 0 dump --live grown -t "$2" -L 2 --append
	count "$1"
	check '  all three of them restore the tree' restored_same grown -t "$2"
	all=$(counted read)
	check '    from hundreds of records' test "$all" -gt 250
	check '  what was deleted is in none' run 3 restore f14 -t "$2" --to to
	check '    which is said' says 'not on the dump'
	check '  what all have goes to the third one' straight_to "$1" "$2" $few f13
	check '  a directory brings what it holds' straight_to "$1" "$2" $few late
	check '  what moved goes to the second one' straight_to "$1" "$2" $few sub/moved
	check '  what never changed goes to the middle of the first one' straight_to "$1" "$2" $few f25
	check '    of which the drive passes over what is before, as it is told to' test "$(counted spaced)" -gt 100
}

check_two_drives() {
	new_cartridge 0 left
	new_cartridge 1 right
	"$binary" dump --live small -t $drive >out0 2>err0 & left=$!
	"$binary" dump --live third -t $poor >out1 2>err1 & right=$!
	wait $left; check 'a dump on one drive' test $? = 0
	wait $right; check 'a dump on the other one at once' test $? = 0
	check 'what the first one wrote' restored_same small -t $drive
	check 'what the second one wrote' restored_same third -t $poor
	check 'a second dump on a drive without positions' run 0 dump --live other -t $poor --append
	check '  is found' restored_same other -t $poor
	check '  by its number, too' restored_same other -t $poor -f 2
	check '  as is the first one' restored_same third -t $poor -f 0
}

check_spanned() {
	local id name failing='[ $TAPEDUMP_NUMBER != 2 ] || echo fail 0a 100 1 3 0c 00 >>/run/vtape/0.ctl'
	/run/modprobe loop
	truncate -s 300M image.btrfs && mkfs.btrfs -q image.btrfs >out 2>err && mkdir -p volume && mount -o loop image.btrfs volume || say_failed 'a btrfs volume'
	mkdir volume/tree && cp -a big/. volume/tree/
	for id in $(seq 10 43); do cp -a big/f$id volume/tree/again$id; done
	rm -rf big
	rm -f /run/vtape/vol?.tap
	cartridge 0 vol1
	check 'a dump over three cartridges, with a changer' run 0 dump volume/tree -t $drive --changer "$by_number"
	check '  goes on on the last one' says "tape 3: $drive"
	cartridge 0 vol1
	check '  and comes back' restored_same volume/tree --force -t $drive --changer "$by_number"
	cartridge 0 vol1
	rm -rf to
	id=$("$binary" catalog export --qfa -t $drive | awk '$2 == 3 { print $1 }' | tail -1)
	name=$(find volume/tree -inum "${id:-0}" -printf %f)
	check 'a file on the third one' run 0 restore "$name" --force -t $drive --to to --changer "$by_number"
	check '  is as it was' cmp "volume/tree/$name" "to/$name"
	check '  and the second one is passed over' silent_on 'tape 2:'
	cartridge 0 vol2
	check 'the second one alone' run 3 verify -t $drive
	check '  is no beginning' says 'this is tape 2 of a dump'
	rm -f /run/vtape/vol?.tap
	cartridge 0 vol1
	check 'one cartridge only' run 3 dump volume/tree -t $drive
	check '  is full' says "$drive: the tape is full"
	id=$("$binary" context list | cut -d' ' -f1)
	check '  and is gone on from' run 0 context restart "$id" --changer "$by_number"
	cartridge 0 vol1
	check '  to the end' restored_same volume/tree --force -t $drive --changer "$by_number"
	rm -f /run/vtape/vol?.tap
	cartridge 0 vol1
	check 'a write error on the second cartridge' run 3 dump volume/tree -t $drive --changer "$by_number; $failing"
	check '  is said' says 'cannot write'
	control 0 'fail 0 0 0 0 0 0'
	id=$("$binary" context list | cut -d' ' -f1)
	check '  and the dump is restarted, from the first cartridge on' run 0 context restart "$id" --changer "$by_number"
	cartridge 0 vol1
	check '  and comes back' restored_same volume/tree --force -t $drive --changer "$by_number"
	rm -f /run/vtape/vol?.tap
	cartridge 1 vol1
	check 'a drive that hardly warns' run 3 dump volume/tree -t $poor --changer "${by_number/0.ctl/1.ctl}"
	check '  loses what is on its way' says 'on their way to it'
	id=$("$binary" context list | cut -d' ' -f1)
	check '  and a restart writes all of it' run 0 context restart "$id"
	cartridge 1 vol1
	check '  and it comes back' restored_same volume/tree --force -t $poor --changer "${by_number/0.ctl/1.ctl}"
	check 'no context is left' test -z "$("$binary" context list | grep level)"
	umount volume
}
silent_on() { ! grep -qF -- "$1" err out; }

check_qualify() {
	new_cartridge 0 q
	check 'qualifying needs --overwrite' run 2 tape qualify $drive
	control 0 'fail 0a 30 3 1 17 01'
	check 'the suite on the drive' run 0 tape qualify $drive --overwrite --fill --eject --json
	check '  all of it' says '"early_warning":'
	check '  with the errors that the drive corrected' says '"soft_errors":3'
	new_cartridge 1 q
	check 'the suite on a drive without positions' run 0 tape qualify $poor --overwrite
	check '  ends in a summary' says '0 failed'
	new_cartridge 0 q
	control 0 'fail 08 30 8 3 11 00'
	check 'a drive that fails does not pass' run 1 tape qualify $drive --overwrite
	check '  and it is said' says 'FAILED'
	control 0 'fail 0 0 0 0 0 0' 'wp 1'
	check 'a write-protected cartridge' run 3 tape qualify $drive --overwrite
	check '  is said' says 'write-protected'
	control 0 'wp 0'
}

make_trees
for group in round_trips several end_of_medium errors cartridges changes record_lengths devices information changer levels two_drives spanned qualify; do
	if [ "$wanted" = '  ' ] || [[ $wanted == *" $group "* ]]; then
		echo "--- $group ($(cut -d' ' -f1 /proc/uptime) s)"
		# Cartridges are in memory. One that is still in a drive goes when the next one is put in.
		rm -rf to /run/vtape/*.tap
		check_$group
	fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
