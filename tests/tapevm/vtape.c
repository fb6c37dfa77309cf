/* vtape: a SCSI tape drive (SSC) in one process, served to the kernel's TCMU backend over /dev/uioN.
 *
 * The guest's kernel sees it through tcm_loop as an ordinary SCSI tape, so /dev/st0 and /dev/nst0 are the real driver.
 * The tape is a file in SIMH .tap framing (u32 length, data padded to even, u32 length; 0 = filemark). One partition.
 * One command is served at a time.
 *
 *   vtape [-c capacity-bytes] [-e early-warning-bytes] [-b max-block] [-P] UIO-DEVICE CONTROL-FILE [TAPE-FILE]
 *
 * -P: a drive without positions: READ POSITION and LOCATE are refused.
 * CONTROL-FILE is read, obeyed line by line and removed before each SCSI command, whenever it exists:
 *   load FILE | eject | wp 0|1 | fail OPCODE AFTER TIMES KEY ASC ASCQ     (numbers in hexadecimal)
 *   e.g. "fail 0a 5 1 3 0c 00": let 5 WRITE(6) pass, then fail one with MEDIUM ERROR / write error.
 *   With key 1 (RECOVERED ERROR) the command is carried out all the same.
 *   eject-after N | load-after N FILE: the same after N further WRITE(6) or READ(6), as if by hand.
 *   count FILE: from here on, FILE says how many records and filemarks the drive has read, how many it has spaced over
 *   one by one, and how often it was told to go to a place (LOCATE), as three numbers. */
#define _DEFAULT_SOURCE
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <linux/target_core_user.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NO_SENSE = 0, RECOVERED = 1, NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL = 5, ATTENTION = 6, PROTECT = 7, BLANK = 8, OVERFLOW = 13 };
enum { F_ILI = 0x20, F_EOM = 0x40, F_MARK = 0x80 };		/* flag bits beside the sense key */
#define MARK UINT32_MAX						/* a record "length" that means filemark */

struct rec { uint64_t off; uint32_t len; };
static struct rec *recs;					/* the tape's index: every record and filemark, in order */
static uint32_t nrec, cap_rec, pos;
static uint64_t used, capacity = 256 << 20, ew = 1 << 20;
static uint32_t max_block = 8 << 20, block_len;			/* block_len 0: variable-block mode */
static int tape = -1, density = 0x58, compress = 1, buffered = 1, wprot;
static bool attention_reset = true, attention_medium, no_positions;
static int change_after = -1;					/* transfers until the cartridge is changed */
static char change_to[400];
static struct { int op, after, times, key, asc, ascq; } fault;
static const char *control;
static struct { int file; uint32_t read, spaced, located; } counts = { .file = -1 };

/* ---- the medium ---- */

static void index_add(uint32_t at, uint64_t off, uint32_t len)
{
	if (at >= cap_rec && !(recs = realloc(recs, (cap_rec = at * 2 + 1024) * sizeof *recs)))
		err(1, "index");
	recs[at] = (struct rec){ off, len };
	nrec = at + 1;
}
static uint64_t framed(uint32_t len) { return len == MARK ? 4 : 8 + (uint64_t)len + (len & 1); }
static void eject(void)
{
	if (tape >= 0) close(tape);
	tape = -1;
}
static void load(const char *path)
{
	uint32_t w;
	eject();
	nrec = pos = 0, used = 0;
	if ((tape = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0) { warn("%s", path); return; }
	while (pread(tape, &w, 4, used) == 4) {
		uint32_t len = le32toh(w);
		index_add(nrec, used + 4, len ? len : MARK);
		used += framed(len ? len : MARK);
	}
	attention_medium = true;
}
static bool append(const uint8_t *data, uint32_t len)		/* writing drops whatever followed */
{
	uint64_t at = pos < nrec ? recs[pos].off - 4 : used;
	uint32_t w = htole32(len == MARK ? 0 : len);
	if (pos < nrec && ftruncate(tape, at)) return false;
	if (pwrite(tape, &w, 4, at) != 4) return false;
	if (len != MARK && (pwrite(tape, data, len, at + 4) != (ssize_t)len ||
			    pwrite(tape, &w, 4, at + 4 + len + (len & 1)) != 4)) return false;
	index_add(pos++, at + 4, len);
	used = at + framed(len);
	return true;
}

/* ---- one SCSI command ---- */

static uint8_t sense[18];
static uint8_t *buf;						/* the data of the command, either way */
static uint32_t buf_len, moved;					/* how much the kernel asked for / how much it gets back */

static int bad(int key, int asc_ascq, int64_t info, bool info_valid)	/* key may carry F_ bits */
{
	memset(sense, 0, sizeof sense);
	sense[0] = 0x70 | (info_valid ? 0x80 : 0);
	sense[2] = key;
	uint32_t be = htobe32((uint32_t)info);
	memcpy(sense + 3, &be, 4);
	sense[7] = 10;
	sense[12] = asc_ascq >> 8;
	sense[13] = asc_ascq;
	return 2;						/* CHECK CONDITION */
}
static uint32_t be(const uint8_t *p, int n) { uint32_t v = 0; while (n--) v = v << 8 | *p++; return v; }
static void put(uint8_t *p, int n, uint64_t v) { while (n--) { p[n] = v; v >>= 8; } }
static int reply(const void *p, uint32_t n, uint32_t alloc)
{
	if (n > alloc) n = alloc;
	if (n > buf_len) n = buf_len;
	memcpy(buf, p, n);
	moved = n;
	return 0;
}
static int after_write(int64_t residue)
{
	if (used > capacity - ew) return bad(NO_SENSE | F_EOM, 0x0002, residue, true);	/* written; early warning */
	return 0;
}
static int do_read(const uint8_t *c)
{
	bool fixed = c[1] & 1, sili = c[1] & 2;
	uint32_t n = be(c + 2, 3), done = 0;
	if (fixed && !block_len) return bad(ILLEGAL, 0x2400, 0, false);
	if (!n) return 0;
	uint32_t want = fixed ? block_len : n, count = fixed ? n : 1;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t left = fixed ? count - i : n;
		moved = done;
		if (pos >= nrec) return bad(BLANK, 0x0005, left, true);
		struct rec *r = &recs[pos];
		counts.read++;
		if (r->len == MARK) { pos++; return bad(NO_SENSE | F_MARK, 0x0001, left, true); }
		uint32_t k = r->len < want ? r->len : want;
		if (done + k > buf_len) k = buf_len - done;
		if (pread(tape, buf + done, k, r->off) != (ssize_t)k) return bad(MEDIUM_ERROR, 0x1100, left, true);
		pos++, done += k, moved = done;
		if (r->len != want && !(sili && (r->len < want || !block_len)))
			return bad(NO_SENSE | F_ILI, 0, fixed ? (int64_t)left : (int64_t)want - r->len, true);
	}
	return 0;
}
static int do_write(const uint8_t *c)
{
	bool fixed = c[1] & 1;
	uint32_t n = be(c + 2, 3), size = fixed ? block_len : n, count = fixed ? n : 1;
	if ((fixed && !block_len) || size > max_block) return bad(ILLEGAL, 0x2400, 0, false);
	if (wprot) return bad(PROTECT, 0x2700, 0, false);
	for (uint32_t i = 0; n && i < count; i++) {
		uint64_t at = pos < nrec ? recs[pos].off - 4 : used;
		if (at + framed(size) > capacity) return bad(OVERFLOW | F_EOM, 0x0002, fixed ? count - i : n, true);
		if ((uint64_t)(i + 1) * size > buf_len || !append(buf + (uint64_t)i * size, size))
			return bad(MEDIUM_ERROR, 0x0c00, fixed ? count - i : n, true);
	}
	return n ? after_write(0) : 0;
}
static int do_marks(const uint8_t *c)
{
	if (wprot) return bad(PROTECT, 0x2700, 0, false);
	for (uint32_t n = be(c + 2, 3); n; n--)
		if (used + 4 > capacity || !append(NULL, MARK)) return bad(OVERFLOW | F_EOM, 0x0002, n, true);
	return be(c + 2, 3) ? after_write(0) : 0;
}
static int do_space(const uint8_t *c)
{
	int code = c[1] & 7, n = (int)(be(c + 2, 3) << 8) >> 8;
	if (code == 3) { pos = nrec; return 0; }
	if (code > 1) return bad(ILLEGAL, 0x2400, 0, false);
	for (; n > 0; n--) {
		do {
			if (pos >= nrec) return bad(BLANK, 0x0005, n, true);
			counts.spaced += code == 0;
			if (recs[pos++].len == MARK && code == 0) return bad(NO_SENSE | F_MARK, 0x0001, n, true);
		} while (code == 1 && recs[pos - 1].len != MARK);
	}
	for (; n < 0; n++) {
		do {
			if (!pos) return bad(NO_SENSE | F_EOM, 0x0004, -n, true);
			counts.spaced += code == 0;
			if (recs[--pos].len == MARK && code == 0) return bad(NO_SENSE | F_MARK, 0x0001, -n, true);
		} while (code == 1 && recs[pos].len != MARK);
	}
	return 0;
}
static int do_locate(uint64_t to)
{
	counts.located++;
	pos = to < nrec ? to : nrec;
	return to <= nrec ? 0 : bad(BLANK, 0x0005, 0, false);
}
static int do_position(const uint8_t *c)
{
	uint8_t r[32] = { 0 };
	r[0] = (pos == 0 ? 0x80 : 0) | (used > capacity - ew && pos == nrec ? 0x40 : 0);
	if ((c[1] & 0x1f) <= 1) {				/* short form */
		put(r + 4, 4, pos), put(r + 8, 4, pos);
		return reply(r, 20, buf_len);
	}
	if ((c[1] & 0x1f) != 6) return bad(ILLEGAL, 0x2400, 0, false);
	uint32_t file = 0;					/* long form */
	for (uint32_t i = 0; i < pos; i++) file += recs[i].len == MARK;
	put(r + 8, 8, pos), put(r + 16, 8, file);
	return reply(r, 32, buf_len);
}
static int do_mode_sense(const uint8_t *c)
{
	bool ten = c[0] == 0x5a;
	int want = c[2] & 0x3f, h = ten ? 8 : 4, n = h;
	uint8_t r[64] = { 0 };
	if (!(c[1] & 8)) {
		put(r + n, 1, density), put(r + n + 5, 3, block_len);
		r[ten ? 7 : 3] = 8, n += 8;
	}
	if (want == 0x0f || want == 0x3f) { r[n] = 0x0f, r[n + 1] = 14, r[n + 2] = compress << 7 | 0x40, r[n + 3] = 0x80, n += 16; }
	if (want == 0x10 || want == 0x3f) { r[n] = 0x10, r[n + 1] = 14, r[n + 8] = 0x40, r[n + 14] = compress, n += 16; }
	if (want != 0 && want != 0x0f && want != 0x10 && want != 0x3f) return bad(ILLEGAL, 0x2400, 0, false);
	r[ten ? 3 : 2] = wprot << 7 | buffered << 4;
	ten ? put(r, 2, n - 2) : put(r, 1, n - 1);
	return reply(r, n, ten ? be(c + 7, 2) : c[4]);
}
static int do_mode_select(const uint8_t *c)
{
	bool ten = c[0] == 0x55;
	uint32_t n = ten ? be(c + 7, 2) : c[4], h = ten ? 8 : 4, bd;
	if (n > buf_len) n = buf_len;
	if (n < h) return 0;
	bd = ten ? be(buf + 6, 2) : buf[3];
	buffered = buf[ten ? 3 : 2] >> 4 & 7;
	if (bd == 8 && n >= h + 8) {
		uint32_t len = be(buf + h + 5, 3);
		if (len > max_block) return bad(ILLEGAL, 0x2600, 0, false);
		block_len = len;
		if (buf[h] != 0x7f) density = buf[h];
	}
	for (uint32_t i = h + bd; i + 1 < n; i += 2 + buf[i + 1])
		if ((buf[i] & 0x3f) == 0x0f && i + 2 < n) compress = buf[i + 2] >> 7;
	return 0;
}
static int do_inquiry(const uint8_t *c)
{
	uint8_t r[36] = { 1, 0x80, 6, 2, 31, 0, 0, 2 };		/* tape, removable, SPC-4 */
	if (!(c[1] & 1)) {
		memcpy(r + 8, "VTAPE   VIRTUAL TAPE    0001", 28);
		return reply(r, 36, be(c + 3, 2));
	}
	switch (c[2]) {
	case 0x00: return reply((uint8_t[]){ 1, 0, 0, 2, 0, 0x80 }, 6, be(c + 3, 2));
	case 0x80: return reply((uint8_t[]){ 1, 0x80, 0, 4, 'V', 'T', '0', '1' }, 8, be(c + 3, 2));
	}
	return bad(ILLEGAL, 0x2400, 0, false);
}
static int do_log_sense(const uint8_t *c)			/* page 0 and TapeAlert (nothing raised) */
{
	uint8_t r[4 + 64 * 5] = { 0 };
	if ((c[2] & 0x3f) == 0) return reply((uint8_t[]){ 0, 0, 0, 2, 0, 0x2e }, 6, be(c + 7, 2));
	if ((c[2] & 0x3f) != 0x2e) return bad(ILLEGAL, 0x2400, 0, false);
	r[0] = 0x2e, put(r + 2, 2, 64 * 5);
	for (int i = 0; i < 64; i++) put(r + 4 + i * 5, 2, i + 1), r[4 + i * 5 + 2] = 0x40, r[4 + i * 5 + 3] = 1;
	return reply(r, sizeof r, be(c + 7, 2));
}
static void count_into(const char *path)
{
	if (counts.file >= 0) close(counts.file);
	counts.file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (counts.file < 0) warn("%s", path);
	counts.read = counts.spaced = counts.located = 0;
}
static void show_counts(void)					/* of one length: each replaces the last one whole */
{
	char line[40];
	int n = snprintf(line, sizeof line, "%10u %10u %10u\n", counts.read, counts.spaced, counts.located);
	if (counts.file >= 0 && pwrite(counts.file, line, n, 0) != n) warn("counts");
}
static void obey_control(void)
{
	char line[512], path[400];
	FILE *f = fopen(control, "r");
	if (!f) return;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "eject-after %d", &change_after) == 1) change_to[0] = 0;
		else if (sscanf(line, "load-after %d %399s", &change_after, change_to) == 2) continue;
		else if (sscanf(line, "load %399s", path) == 1) load(path);
		else if (!strncmp(line, "eject", 5)) eject();
		else if (sscanf(line, "count %399s", path) == 1) count_into(path);
		else if (sscanf(line, "wp %d", &wprot) == 1) continue;
		else if (sscanf(line, "fail %x %x %x %x %x %x", &fault.op, &fault.after, &fault.times, &fault.key, &fault.asc, &fault.ascq) != 6)
			warnx("control: %s", line);
	}
	fclose(f);
	unlink(control);
}
static void change_by_hand(void)
{
	if (change_to[0]) load(change_to);
	else eject();
}
static int carry_out(const uint8_t *c);
static int command(const uint8_t *c)
{
	moved = 0;
	obey_control();
	if (c[0] == 0x12) return do_inquiry(c);
	if (c[0] == 0x03) { uint8_t r[18] = { 0x70, [7] = 10 }; return reply(r, 18, c[4]); }
	if ((c[0] == 0x08 || c[0] == 0x0a) && change_after >= 0 && change_after-- == 0) change_by_hand();
	if (attention_reset) { attention_reset = false; return bad(ATTENTION, 0x2900, 0, false); }
	if (attention_medium) { attention_medium = false; return bad(ATTENTION, 0x2800, 0, false); }
	if (fault.times && c[0] == fault.op && fault.after-- <= 0) {
		fault.times--;
		if (fault.key == RECOVERED && carry_out(c)) return 2;
		return bad(fault.key, fault.asc << 8 | fault.ascq, 0, false);
	}
	return carry_out(c);
}
static int carry_out(const uint8_t *c)
{
	if (no_positions && (c[0] == 0x34 || c[0] == 0x2b || c[0] == 0x92)) return bad(ILLEGAL, 0x2000, 0, false);
	switch (c[0]) {						/* what an empty drive answers too */
	case 0x05: { uint8_t r[6] = { 0 }; put(r + 1, 3, max_block), put(r + 4, 2, 1); return reply(r, 6, 6); }
	case 0x15: case 0x55: return do_mode_select(c);
	case 0x1a: case 0x5a: return do_mode_sense(c);
	case 0x1e: return 0;					/* prevent/allow removal: accepted, not enforced */
	case 0x4d: return do_log_sense(c);
	case 0x1b:						/* load/unload */
		if (c[4] & 1) { pos = 0; return tape < 0 ? bad(NOT_READY, 0x3a00, 0, false) : 0; }
		eject();
		return 0;
	}
	if (tape < 0) return bad(NOT_READY, 0x3a00, 0, false);
	switch (c[0]) {
	case 0x00: return 0;					/* test unit ready */
	case 0x01: pos = 0; return 0;				/* rewind */
	case 0x08: return do_read(c);
	case 0x0a: return do_write(c);
	case 0x10: return do_marks(c);
	case 0x11: return do_space(c);
	case 0x19:						/* erase from here on */
		if (wprot) return bad(PROTECT, 0x2700, 0, false);
		if (pos < nrec) { used = recs[pos].off - 4; nrec = pos; if (ftruncate(tape, used)) return bad(MEDIUM_ERROR, 0x5100, 0, false); }
		return 0;
	case 0x2b: return do_locate(be(c + 3, 4));
	case 0x34: return do_position(c);
	case 0x92: return do_locate((uint64_t)be(c + 4, 4) << 32 | be(c + 8, 4));
	}
	return bad(ILLEGAL, 0x2000, 0, false);
}

/* ---- the TCMU ring ---- */

static void serve(uint8_t *map, struct tcmu_cmd_entry *e)
{
	uint8_t cdb[16];
	uint32_t n = 0, i;
	struct iovec iov[e->req.iov_cnt + 1];
	memcpy(cdb, map + e->req.cdb_off, sizeof cdb);
	memcpy(iov, e->req.iov, sizeof(struct iovec) * e->req.iov_cnt);	/* the answer will overwrite these */
	uint32_t cnt = e->req.iov_cnt;
	for (i = 0; i < cnt; i++) n += iov[i].iov_len;
	static uint32_t cap;
	if (n > cap && !(buf = realloc(buf, cap = n))) err(1, "buffer");
	buf_len = n;
	bool in = cdb[0] != 0x0a && cdb[0] != 0x15 && cdb[0] != 0x55;
	for (i = n = 0; i < cnt && !in; n += iov[i++].iov_len) memcpy(buf + n, map + (uintptr_t)iov[i].iov_base, iov[i].iov_len);
	int status = command(cdb);
	show_counts();
	for (i = n = 0; i < cnt && in && n < moved; n += iov[i++].iov_len)
		memcpy(map + (uintptr_t)iov[i].iov_base, buf + n, moved - n < iov[i].iov_len ? moved - n : iov[i].iov_len);
	memset(&e->rsp, 0, sizeof e->rsp);
	e->rsp.scsi_status = status;
	if (status) memcpy(e->rsp.sense_buffer, sense, sizeof sense);
	if (in && moved) e->rsp.read_len = moved, e->hdr.uflags |= TCMU_UFLAG_READ_LEN;
}
int main(int argc, char **argv)
{
	int o;
	while ((o = getopt(argc, argv, "c:e:b:P")) > 0)
		switch (o) {
		case 'c': capacity = strtoull(optarg, NULL, 0); break;
		case 'e': ew = strtoull(optarg, NULL, 0); break;
		case 'b': max_block = strtoul(optarg, NULL, 0); break;
		case 'P': no_positions = true; break;
		default: return 2;
		}
	if (argc - optind < 2) errx(2, "usage: vtape [-c bytes] [-e bytes] [-b bytes] [-P] UIO CONTROL [TAPE]");
	int uio = open(argv[optind], O_RDWR);
	if (uio < 0) err(1, "%s", argv[optind]);
	control = argv[optind + 1];
	if (argc - optind > 2) load(argv[optind + 2]);
	attention_medium = false;

	char path[128], *name = strrchr(argv[optind], '/') + 1;
	unsigned long size = 0;
	snprintf(path, sizeof path, "/sys/class/uio/%s/maps/map0/size", name);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%lx", &size) != 1) err(1, "%s", path);
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, uio, 0);
	if (map == MAP_FAILED) err(1, "mmap %s", argv[optind]);
	struct tcmu_mailbox *mb = (void *)map;

	uint32_t x;
	do {							/* at once: a command may have come before this opened the device */
		while (mb->cmd_tail != __atomic_load_n(&mb->cmd_head, __ATOMIC_ACQUIRE)) {
			struct tcmu_cmd_entry *e = (void *)(map + mb->cmdr_off + mb->cmd_tail);
			if (tcmu_hdr_get_op(e->hdr.len_op) == TCMU_OP_CMD) serve(map, e);
			else if (tcmu_hdr_get_op(e->hdr.len_op) != TCMU_OP_PAD) e->hdr.uflags |= TCMU_UFLAG_UNKNOWN_OP;
			__atomic_store_n(&mb->cmd_tail, (mb->cmd_tail + tcmu_hdr_get_len(e->hdr.len_op)) % mb->cmdr_size, __ATOMIC_RELEASE);
			x = 0;
			if (write(uio, &x, 4) != 4) err(1, "kick");
		}
	} while (read(uio, &x, 4) == 4);
	return 0;
}
