/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * RESP, the protocol of Redis and its relatives, as a stream of commands cut into arbitrary pieces.
 *
 * A command is `*<n>\r\n` and n times `$<length>\r\n<bytes>\r\n`, or one line of text ("inline"). The parser keeps its
 * place between pieces, so a command may be cut anywhere, inside a number too, and pipelined commands are each counted.
 * Only the lengths are read; argument bytes are jumped over and never kept. Of the first argument, the command's name,
 * the letters are kept. CLIENT REPLY OFF and SKIP, after which a client gets no answers, are understood. After a piece that
 * was not seen only an array begins a command again: anything else may be the middle of somebody's value.
 */
#ifndef GALA_RESP_H
#define GALA_RESP_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define RESP_CARRY 16
/* Bytes looked at in one go. */
#define RESP_CHUNK 512
/* A step eats a line or an argument; the shortest of both together has 4 + 3 bytes. */
#define RESP_STEPS (2 * RESP_CHUNK / 4)
#define RESP_NAME 12
/* Redis takes no argument above 512 MiB and no more than 1024 * 1024 of them. */
#define RESP_MAX_LENGTH (512 << 20)
#define RESP_MAX_ARGUMENTS (1 << 20)

enum resp_line {
	RESP_LINE_CUT = -1,
	RESP_LINE_BAD = -2,
};

enum resp_word {
	RESP_COMMAND = 1,
	/* The argument behind CLIENT, and the one behind CLIENT REPLY. */
	RESP_OF_CLIENT = 2,
	RESP_OF_REPLY = 3,
};

enum resp_quiet {
	/* No command is answered until CLIENT REPLY ON. */
	RESP_OFF = 1,
	/* Commands that are not answered came since the owner looked. */
	RESP_UNANSWERED = 2,
	/* Commands that answer when something else happens, or never, came since the owner looked. */
	RESP_WAITED = 4,
};

struct resp_bytes {
	__u8 at[RESP_CARRY];
};

struct resp_parser {
	/* Arguments of the current command that are not over yet. */
	__u32 arguments;
	/* Bytes left of the current argument, its line end included. */
	__u32 skip;
	/* Commands that ended; the owner takes them out. Kept here, not at the run: the verifier counts what is on its stack. */
	__u32 complete;
	__u8 carried;
	/* What the next argument is, an enum resp_word; 0 where that does not matter. */
	__u8 word;
	/* Inside a command given as a line of text. */
	__u8 in_line;
	/* Not RESP here. */
	__u8 broken;
	/* The bytes behind `name` where they are fewer than eight, else 0. */
	__u64 raw_name;
	char name[RESP_NAME];
	/* Of enum resp_quiet; the owner takes out what came since it looked. */
	__u8 quiet;
	/* Only an array begins a command: what came before was not seen. */
	__u8 lost;
	/* Last, for it is hardly ever used. Right-aligned start of a line whose end has not come yet. */
	__u8 carry[RESP_CARRY] __attribute__((aligned(8)));
};

/* A piece: `carry` room, then the bytes themselves; the place in it. In a map: the verifier counts what is on the stack. */
struct resp_piece {
	__u8 bytes[RESP_CARRY + RESP_CHUNK + RESP_CARRY];
	__u32 pos;
	__u32 end;
	__s64 number;
};

struct resp_run {
	struct resp_parser *parser;
	struct resp_piece *piece;
};

static __always_inline void resp_reset(struct resp_parser *parser)
{
	parser->arguments = 0;
	parser->skip = 0;
	parser->carried = 0;
	parser->word = 0;
	parser->in_line = 0;
	parser->broken = 0;
	parser->lost = 1;
}

/*
 * The verifier must not walk their many branches anew with all that follows. So these are global functions, which it walks
 * once. Before 5.12 those take no pointers: there (BY_ADDRESS) results pass through memory, of which it knows nothing.
 */
#ifdef BY_ADDRESS
#define RESP_FUNCTION static __always_inline
#else
#define RESP_FUNCTION __noinline
#endif

static __always_inline __s64 resp_pass(struct resp_piece *piece, __s64 number)
{
#ifdef BY_ADDRESS
	*(volatile __s64 *)&piece->number = number;
	number = *(volatile __s64 *)&piece->number;
#endif
	return number;
}

/*
 * Reads the number of `*3\r\n` from its second byte on. Answers the number, with the bytes of the line in the upper half,
 * or an enum resp_line.
 */
RESP_FUNCTION __s64 resp_number(const struct resp_bytes *line, __u32 left)
{
	__u64 value = 0;

	if (!line)
		return RESP_LINE_BAD;
	for (__u32 i = 1; i < RESP_CARRY - 1; i++) {
		__u8 c = line->at[i];

		if (i >= left || (c == '\r' && i + 1 >= left))
			return RESP_LINE_CUT;
		if (c == '\r')
			return i > 1 && i < 12 ? (__s64)((__u64)(i + 2) << 32 | (__u32)value) : RESP_LINE_BAD;
		if (c < '0' || c > '9')
			return RESP_LINE_BAD;
		value = value * 10 + (c - '0');
	}
	return RESP_LINE_BAD;
}

/* The same for a number of one or two digits, as most are, without a call; 0 where it takes a closer look. */
static __always_inline __s64 resp_short_number(const __u8 *line, __u32 left)
{
#ifndef BY_ADDRESS
	__u32 first = (__u8)(line[1] - '0'), second = (__u8)(line[2] - '0');

	if (first > 9)
		return 0;
	if (line[2] == '\r' && left >= 4)
		return 4ULL << 32 | first;
	if (second <= 9 && line[3] == '\r' && left >= 5)
		return 5ULL << 32 | (first * 10 + second);
#endif
	return 0;
}

/* Bytes up to and with the line feed, as many as there are when there is none; then the upper half is 0. */
RESP_FUNCTION __u64 resp_text(const struct resp_bytes *line, __u32 left)
{
	if (!line)
		return 0;
	for (__u32 i = 0; i < RESP_CARRY; i++) {
		if (i >= left)
			return left;
		if (line->at[i] == '\n')
			return 1ULL << 32 | (i + 1);
	}
	return RESP_CARRY;
}

/* The mask changes nothing (a piece is shorter) but makes all ways here look the same to the verifier. */
static __always_inline void resp_advance(struct resp_run *run, __u32 used)
{
	run->piece->pos = (run->piece->pos + used) & 1023;
}

static __always_inline void resp_carry(struct resp_run *run)
{
	__u32 left = run->piece->end - run->piece->pos;
	__u32 start = run->piece->end - RESP_CARRY;

	/* Or both bounds become one of a sum, from which older verifiers learn nothing. */
	barrier_var(start);
	if (left >= RESP_CARRY || start > RESP_CHUNK) {
		run->parser->broken = 1;
		return;
	}
	__builtin_memcpy(run->parser->carry, &run->piece->bytes[start], RESP_CARRY);
	run->parser->carried = left;
}

#define RESP_EACH 0x0101010101010101ULL

/* The first `length` of eight bytes. */
static __always_inline __u64 resp_first(__u64 word, __u32 length)
{
	return length < 8 ? word & ((1ULL << (8 * length & 63)) - 1) : word;
}

/* Eight letters at once: in upper case, as far as they are visible ASCII. The top bit of each byte holds what was compared. */
static __always_inline __u64 resp_letters(__u64 word)
{
	__u64 tops = RESP_EACH << 7, low = word & ~tops;
	__u64 visible = (low + RESP_EACH * (0x80 - '!')) & ~(low + RESP_EACH * (0x80 - 0x7f)) & ~word & tops;
	__u64 small = (low + RESP_EACH * (0x80 - 'a')) & ~(low + RESP_EACH * (0x80 - '{')) & ~word & tops;
	__u64 end = visible ^ tops;

	word -= small >> 2;
	return end ? word & (((end & -end) >> 7) - 1) : word;
}

/* Words as eight letters, the first one lowest. */
#define RESP_WORD_CLIENT 0x544e45494c43ULL
#define RESP_WORD_REPLY 0x594c504552ULL
#define RESP_WORD_ON 0x4e4fULL
#define RESP_WORD_OFF 0x46464fULL
#define RESP_WORD_SKIP 0x50494b53ULL

/*
 * Commands that answer when something else happens, or never: B[LRZ]..., MONITOR, PSUBSCRIBE, PSYNC, REPLCONF, SHUTDOWN,
 * SSUBSCRIBE, SUBSCRIBE, SYNC, WAIT..., XREAD... A global function of a number, which every verifier walks once.
 */
__noinline int resp_waits(__u64 name)
{
	__u8 second = name >> 8, third = name >> 16, fourth = name >> 24, fifth = name >> 32;

	switch ((__u8)name) {
	case 'B':
		return second == 'L' || second == 'R' || second == 'Z';
	case 'M':
		return second == 'O' && third == 'N';
	case 'P':
		return second == 'S' && (third == 'U' || third == 'Y');
	case 'R':
		return second == 'E' && third == 'P' && fourth == 'L';
	case 'S':
		return second == 'Y' || (second == 'S' && third == 'U') || (second == 'H' && third == 'U') ||
		       (second == 'U' && third == 'B' && fifth == 'C');
	case 'W':
		return second == 'A' && third == 'I';
	case 'X':
		return second == 'R' && third == 'E' && fourth == 'A';
	}
	return 0;
}

/* The name of a command, found again without a look at its letters when it is the one before. What has none is no name. */
static __always_inline void resp_name(struct resp_parser *parser, const __u8 *bytes, __u32 length)
{
	__u64 raw = *(const __u64 *)bytes, head, tail = 0;

	if (length < sizeof(raw)) {
		raw = resp_first(raw, length);
		if (raw == parser->raw_name)
			return;
		parser->raw_name = raw;
	} else {
		parser->raw_name = 0;
	}
	head = resp_letters(raw);
	if (head >> 56 && length > sizeof(head)) {
		length -= sizeof(head);
		tail = *(const __u32 *)(bytes + sizeof(head));
		tail = resp_letters(resp_first(tail, length < 3 ? length : 3));
	}
	*(__u64 *)parser->name = head;
	*(__u32 *)(parser->name + sizeof(head)) = tail;
	/* The next one of these is looked at too. */
	if (head == RESP_WORD_CLIENT) {
		parser->word = RESP_OF_CLIENT;
		parser->raw_name = 0;
	} else if (resp_waits(head)) {
		parser->quiet |= RESP_WAITED;
		parser->raw_name = 0;
	}
}

/* What stands behind CLIENT and CLIENT REPLY. Rare, so it is kept out of the way of the rest. */
static __noinline int resp_reply(struct resp_parser *parser, const struct resp_bytes *bytes, __u32 length)
{
	__u8 place;
	__u64 word;

	if (!parser || !bytes)
		return 0;
	place = parser->word;
	parser->word = 0;
	word = resp_letters(resp_first(*(const __u64 *)bytes->at, length));
	if (place == RESP_OF_CLIENT) {
		if (word == RESP_WORD_REPLY)
			parser->word = RESP_OF_REPLY;
	} else if (word == RESP_WORD_OFF) {
		parser->quiet = RESP_OFF | RESP_UNANSWERED;
	} else if (word == RESP_WORD_SKIP) {
		parser->quiet |= RESP_UNANSWERED;
	} else if (word == RESP_WORD_ON && parser->quiet) {
		parser->quiet = RESP_UNANSWERED;
	}
	return 0;
}

/* One step: an argument with its length before it, a count of arguments or a bit of an inline command. 1 ends the piece. */
static long resp_step(__u32 index, struct resp_run *run)
{
	struct resp_parser *parser = run->parser;
	struct resp_piece *piece = run->piece;
	__u32 pos = piece->pos, end = piece->end, left, used = 0;
	const __u8 *line;
	__s64 number;

	if (pos >= end || pos >= RESP_CARRY + RESP_CHUNK)
		return 1;
	left = end - pos;
	line = &piece->bytes[pos];
	if (parser->in_line) {
		__u64 text = resp_pass(piece, resp_text((const void *)line, left));

		if (text >> 32) {
			parser->in_line = 0;
			parser->complete++;
		}
		resp_advance(run, text);
		return 0;
	}
	if (!parser->skip) {
		__u32 most;

		if (parser->arguments) {
			if (line[0] != '$') {
				parser->broken = 1;
				return 1;
			}
		} else if (line[0] != '*') {
			if (line[0] == '\r' || line[0] == '\n') {
				resp_advance(run, 1);
				return 0;
			}
			if (parser->lost || line[0] < ' ' || line[0] > '~') {
				parser->broken = 1;
				return 1;
			}
			resp_name(parser, line, left < RESP_CARRY ? left : RESP_CARRY);
			parser->in_line = 1;
			return 0;
		}
		number = resp_short_number(line, left);
		if (!number)
			number = resp_pass(piece, resp_number((const void *)line, left));
		if (number == RESP_LINE_CUT) {
			resp_carry(run);
			return 1;
		}
		used = number >> 32;
		number = (__u32)number;
		most = parser->arguments ? RESP_MAX_LENGTH : RESP_MAX_ARGUMENTS;
		if (!used || used > RESP_CARRY || number > most) {
			parser->broken = 1;
			return 1;
		}
		if (!parser->arguments) {
			parser->arguments = number;
			parser->word = RESP_COMMAND;
			parser->lost = 0;
			resp_advance(run, used);
			return 0;
		}
		parser->skip = number + 2;
#ifdef BY_ADDRESS
		/* The argument itself is another step's: the verifier has fewer ways to follow. */
		resp_advance(run, used);
		return 0;
#endif
		pos += used;
		left -= used;
		if (pos >= end || pos >= RESP_CARRY + RESP_CHUNK) {
			resp_advance(run, used);
			return 1;
		}
		line = &piece->bytes[pos];
	}
	if (parser->word) {
		__u32 length = parser->skip - 2;

		if (left < length && left < RESP_NAME) {
			/* A name cut in two waits for its rest. */
			resp_advance(run, used);
			resp_carry(run);
			return 1;
		}
		if (length > left)
			length = left;
		if (parser->word == RESP_COMMAND) {
			parser->word = 0;
			resp_name(parser, line, length);
		} else {
			resp_reply(parser, (const void *)line, length);
		}
	}
	left = parser->skip < left ? parser->skip : left;
	parser->skip -= left;
	resp_advance(run, used + left);
	if (!parser->skip) {
		parser->arguments--;
		parser->complete += !parser->arguments;
	}
	return 0;
}

/* Opens a piece of `length` bytes that lie behind the room for what the piece before left over. */
static __always_inline void resp_open(struct resp_parser *parser, struct resp_piece *piece, __u32 length)
{
	piece->pos = RESP_CARRY;
	piece->end = RESP_CARRY + length;
	if (parser->carried && parser->carried < RESP_CARRY) {
		__builtin_memcpy(piece->bytes, parser->carry, RESP_CARRY);
		piece->pos = RESP_CARRY - parser->carried;
		parser->carried = 0;
	}
}

/* Arguments of a command that resp_whole() looks at. */
#define RESP_FEW 8

/* Whether the stream is between two commands. */
static __always_inline bool resp_rests(const struct resp_parser *parser)
{
	return !(parser->arguments | parser->skip | parser->carried | parser->word | parser->in_line | parser->broken);
}

/*
 * Whether a piece of `size` bytes is one command, from its first byte to its last, of few arguments below 100 bytes: nearly
 * all are, and that takes no calls. Answers the length of its name, 0 where it takes the steps to tell.
 */
static __always_inline __u32 resp_whole(const struct resp_piece *piece, __u32 size)
{
	const __u8 *line = &piece->bytes[RESP_CARRY];
	__u32 arguments = line[1] - '0', name = line[5] - '0', pos = RESP_CARRY + 8 + name + 2;

	if (line[0] != '*' || line[2] != '\r' || line[4] != '$' || line[6] != '\r')
		return 0;
	/* A longer name takes a look at more than eight letters. */
	if (arguments < 1 || arguments > RESP_FEW || name < 1 || name > 7)
		return 0;
	for (__u32 i = 1; i < RESP_FEW && i < arguments; i++) {
		__u32 first, second;

		if (pos > RESP_CARRY + RESP_CHUNK)
			return 0;
		line = &piece->bytes[pos];
		first = line[1] - '0';
		second = line[2] - '0';
		if (line[0] != '$' || first > 9)
			return 0;
		if (line[2] == '\r')
			pos += 4 + first + 2;
		else if (second <= 9 && line[3] == '\r')
			pos += 5 + 10 * first + second + 2;
		else
			return 0;
	}
	/* What lies behind the piece only looks like arguments: with those it ends too far. */
	return pos == RESP_CARRY + size ? name : 0;
}

/* Takes what resp_whole() found; false where its name wants the steps' closer look. */
static __always_inline bool resp_take(struct resp_parser *parser, const struct resp_piece *piece, __u32 name)
{
	const __u8 *bytes = &piece->bytes[RESP_CARRY + 8];

	if (resp_first(*(const __u64 *)bytes, name) != parser->raw_name) {
		resp_name(parser, bytes, name);
		parser->word = 0;
		if (!parser->raw_name)
			return false;
	}
	parser->lost = 0;
	parser->complete++;
	return true;
}

/* Whether bytes at the start of a stream may be those of a command, as far as they go. */
static __always_inline bool resp_begins(const __u8 *bytes, __u32 length)
{
	__s64 number;
	__u32 used;

	if (length < 1 || bytes[0] != '*')
		return false;
	number = resp_number((const void *)bytes, length);
	used = number >> 32;
	return number == RESP_LINE_CUT || (number > 0 && (__u32)number > 0 && (used >= length || (used < RESP_CARRY && bytes[used] == '$')));
}

#endif
