#!/usr/bin/env python3
"""Writes tests/model/malformed_gguf: GGUF files that are broken on purpose, and what the reader must say.

    scripts/make_malformed_ggufs.py           writes the files and expectations.tsv
    scripts/make_malformed_ggufs.py --check   says whether the folder is what this script would write

expectations.tsv has a line per file: name, error code, a part of the message. The test
tests/model/malformed_gguf_test.cpp reads it. Format of GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import pathlib
import struct
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "model" / "malformed_gguf"

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
T_F32, T_Q4_0, T_Q8_1, T_Q4_K, T_Q8_K = 0, 2, 9, 12, 15
HUGE = 2**64 - 1


def u8(n): return struct.pack("<B", n)
def u32(n): return struct.pack("<I", n)
def u64(n): return struct.pack("<Q", n)
def f32(x): return struct.pack("<f", x)


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return u64(len(raw)) + raw


def key(name, kind, value): return text(name) + u32(kind) + value
def array(kind, count, raw): return u32(kind) + u64(count) + raw


def tensor(name, shape, kind=T_F32, offset=0, dims=None):
    return (text(name) + u32(len(shape) if dims is None else dims) + b"".join(u64(n) for n in shape)
            + u32(kind) + u64(offset))


ARCH = key("general.architecture", STRING, text("llama"))


def file(keys=(ARCH,), tensors=(), data=b"", *, magic=b"GGUF", version=3, n_keys=None, n_tensors=None, align=32):
    head = (magic + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors)
            + u64(len(keys) if n_keys is None else n_keys) + b"".join(keys) + b"".join(tensors))
    if data:
        head += bytes(-len(head) % align)
    return head + data


def cases():
    """(name, bytes, code, part of the message)"""
    c, u = "corrupt", "unsupported"
    good = file((ARCH,), (tensor("a", [8]),), bytes(32))
    data = bytes(256)

    yield "empty", b"", c, "does not begin with 'GGUF'"
    yield "magic_only", b"GGUF", c, "ends inside the version"
    yield "magic_half", b"GG", c, "does not begin with 'GGUF'"
    yield "magic_other", file(magic=b"GGML"), c, "does not begin with 'GGUF'"
    yield "magic_reversed", file(magic=b"FUGG"), c, "does not begin with 'GGUF'"
    yield "version_0", file(version=0), u, "version 2 or 3: 0"
    yield "version_1", file(version=1), u, "version 2 or 3: 1"
    yield "version_4", file(version=4), u, "version 2 or 3: 4"
    yield "version_huge", file(version=0xFFFFFFFF), u, "version 2 or 3"
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), u, "this file is big-endian"
    yield "ends_in_tensor_count", file()[:12], c, "ends inside the number of tensors"
    yield "ends_in_key_count", file()[:20], c, "ends inside the number of keys"

    yield "key_count_huge", file(n_keys=HUGE), c, "keys in"
    yield "key_count_over_file", file(n_keys=1000), c, "keys in"
    yield "key_count_one_more", file(n_keys=2) + bytes(2), c, "ends inside the name of key 2 of 2"
    yield "key_count_sign_bit", file(n_keys=1 << 63), c, "keys in"
    yield "tensor_count_huge", file(n_tensors=HUGE), c, "tensors in"
    yield "tensor_count_over_file", file(n_tensors=1 << 17), c, "tensors in"
    yield "tensor_count_one_more", file((ARCH,), (tensor("a", [8]),), bytes(32), n_tensors=2), c, "tensor 2 of 2"

    yield "key_empty", file((key("", U8, u8(1)) + bytes(8),)), c, "it is empty"
    yield "key_length_huge", file((u64(HUGE) + bytes(32),)), c, "expected at most 256 bytes in the name of key 1"
    yield "key_length_over_limit", file((key("k" * 257, U8, u8(1)),)), c, "expected at most 256 bytes"
    yield "key_length_over_file", file((u64(200) + b"short" + bytes(20),)), c, "ends inside the name of key 1"
    yield "key_control_character", file((key("a\nb", U32, u32(1)),)), c, "'a?b': expected printable"
    yield "key_with_zero", file((key("a\0b", U32, u32(1)),)), c, "'a?b': expected printable"
    yield "key_twice", file((ARCH, ARCH)), c, "'general.architecture' comes twice"
    yield "key_twice_apart", file((key("a", U8, u8(1)), key("b", U8, u8(1)), key("a", U32, u32(1)))), c, \
        "'a' comes twice"
    yield "value_type_unknown", file((key("a", 13, u32(1)),)), c, "key 'a': expected a value type below 13: 13"
    yield "value_type_huge", file((key("a", 0xFFFFFFFF, u32(1)),)), c, "expected a value type below 13"
    yield "value_missing", file((text("abcdefghij") + u32(U64),)), c, "ends inside key 'abcdefghij'"
    yield "value_cut_off", file((key("abcdef", F64, bytes(7)),)), c, "ends inside key 'abcdef'"
    yield "bool_2", file((key("a", BOOL, u8(2)),)), c, "key 'a': expected a bool of 0 or 1: 2"
    yield "bool_255", file((key("a", BOOL, u8(255)),)), c, "expected a bool of 0 or 1: 255"
    yield "string_length_huge", file((key("a", STRING, u64(HUGE)),)), c, "bytes in key 'a'"
    yield "string_length_over_limit", file((key("a", STRING, u64((1 << 26) + 1)),)), c, \
        "expected at most 67108864 bytes in key 'a'"
    yield "string_over_file", file((key("a", STRING, u64(100) + b"only this"),)), c, "ends inside key 'a'"

    yield "array_of_arrays", file((key("a", ARRAY, array(ARRAY, 1, array(U8, 1, u8(1)))),)), u, "an array of arrays"
    yield "array_type_unknown", file((key("a", ARRAY, array(99, 1, u8(1))),)), c, "value type below 13: 99"
    yield "array_count_huge", file((key("a", ARRAY, array(U64, HUGE, u8(1))),)), c, "array elements in the file"
    yield "array_count_times_size_wraps", file((key("a", ARRAY, array(U64, (1 << 61) + 1, bytes(8))),)), c, \
        "array elements in the file"
    yield "array_over_file", file((key("a", ARRAY, array(U32, 100, bytes(40))),)), c, "ends inside key 'a'"
    yield "array_header_cut_off", file((key("abcdef", ARRAY, u32(U8) + bytes(3)),)), c, "ends inside key 'abcdef'"
    yield "array_bool_2", file((key("a", ARRAY, array(BOOL, 3, b"\0\1\2")),)), c, "expected bools of 0 or 1"
    yield "array_string_over_file", file((key("a", ARRAY, array(STRING, 2, text("x") + u64(50) + b"y")),)), c, \
        "ends inside key 'a'"
    yield "array_string_length_huge", file((key("a", ARRAY, array(STRING, 1, u64(HUGE))),)), c, \
        "element 0 has 18446744073709551615"
    yield "array_string_count_over_file", file((key("a", ARRAY, array(STRING, 1 << 22, text("x"))),)), c, \
        "ends inside key 'a'"
    yield "arrays_over_limit_together", file((
        key("a", ARRAY, array(U8, 4, bytes(4))), key("b", ARRAY, array(U8, (1 << 23) - 3, bytes(4))))), c, \
        "key 'b': expected at most 8388608 array elements"

    def aligned(value, kind=U32):
        return file((ARCH, key("general.alignment", kind, value)), (tensor("a", [8]),), data)
    yield "alignment_0", aligned(u32(0)), c, "expected a power of two from 8 to 65536: 0"
    yield "alignment_3", aligned(u32(3)), c, "expected a power of two from 8 to 65536: 3"
    yield "alignment_1", aligned(u32(1)), c, "expected a power of two from 8 to 65536: 1"
    yield "alignment_48", aligned(u32(48)), c, "expected a power of two from 8 to 65536: 48"
    yield "alignment_128k", aligned(u32(1 << 17)), c, "expected a power of two from 8 to 65536: 131072"
    yield "alignment_sign_bit", aligned(u32(1 << 31)), c, "expected a power of two"
    yield "alignment_u64", aligned(u64(32), U64), c, "expected type u32: u64"
    yield "alignment_string", aligned(text("32"), STRING), c, "expected type u32: string"
    yield "alignment_array", aligned(array(U32, 1, u32(32)), ARRAY), c, "expected type u32: array"

    def one(*args, **more):
        return file((ARCH,), (tensor(*args, **more),), data)
    yield "tensor_name_empty", one("", [8]), c, "it is empty"
    yield "tensor_name_64", one("n" * 64, [8]), c, "expected at most 63 bytes in the name of tensor 1"
    yield "tensor_name_huge", file((ARCH,), (u64(HUGE) + bytes(64),), data), c, "expected at most 63 bytes"
    yield "tensor_name_with_zero", one("a\0b", [8]), c, "tensor 'a?b': expected printable"
    yield "tensor_name_escape", one("a\x1b[31m", [8]), c, "tensor 'a?[31m': expected printable"
    yield "tensor_twice", file((ARCH,), (tensor("a", [8]), tensor("b", [8], offset=32), tensor("a", [8], offset=64)),
                               data), c, "expected each tensor once: 'a' comes twice"
    yield "dims_0", one("a", []), c, "expected 1 to 4 dimensions: 0"
    yield "dims_5", one("a", [1, 1, 1, 1, 1]), c, "expected 1 to 4 dimensions: 5"
    yield "dims_huge", one("a", [8], dims=0xFFFFFFFF), c, "expected 1 to 4 dimensions: 4294967295"
    yield "dimension_0", one("a", [8, 0]), c, "expected at least 1 in dimension 1: 0"
    yield "dimension_first_0", one("a", [0, 8]), c, "expected at least 1 in dimension 0: 0"
    yield "dimension_huge", one("a", [HUGE]), c, "fits into 63 bits"
    yield "shape_wraps_to_0", one("a", [1 << 32, 1 << 32]), c, "fits into 63 bits"
    yield "shape_wraps_to_8", one("a", [(1 << 61) + 2, 4]), c, "fits into 63 bits"
    yield "shape_sign_bit", one("a", [1 << 62, 2]), c, "fits into 63 bits"
    yield "size_wraps", one("a", [1 << 62]), c, "fits into 63 bits"
    yield "row_no_multiple_of_block", one("a", [33], T_Q4_0), c, "a multiple of 32 elements for q4_0: 33"
    yield "row_shorter_than_block", one("a", [32, 8], T_Q4_K), c, "a multiple of 256 elements for q4_K: 32"
    yield "tensor_type_removed", one("a", [32], 4), u, "expected a tensor type that this build knows: 4"
    yield "tensor_type_count", one("a", [32], 43), u, "expected a tensor type that this build knows: 43"
    yield "tensor_type_huge", one("a", [32], 0x7FFFFFFF), u, "expected a tensor type that this build knows"
    yield "tensor_type_negative", one("a", [32], 0xFFFFFFFF), u, "expected a tensor type that this build knows"
    yield "tensor_type_intermediate", one("a", [32], T_Q8_1), u, "q8_1 is for intermediate results"
    yield "tensor_type_intermediate_k", one("a", [256], T_Q8_K), u, "q8_K is for intermediate results"

    yield "offset_unaligned", one("a", [8], offset=4), c, "an offset that is a multiple of 32: 4"
    yield "offset_unaligned_own", file((ARCH, key("general.alignment", U32, u32(64))), (tensor("a", [8], offset=32),),
                                       data, align=64), c, "an offset that is a multiple of 64: 32"
    yield "offset_past_end", one("a", [8], offset=1 << 20), c, "expected 32 bytes at data offset 1048576"
    yield "offset_huge", one("a", [8], offset=HUGE - 31), c, "expected 32 bytes at data offset 18446744073709551584"
    yield "offset_wraps", one("a", [8], offset=HUGE - 127), c, "at data offset"
    yield "tensor_past_end", one("a", [65]), c, "expected 260 bytes at data offset 0"
    yield "tensor_far_past_end", one("a", [1 << 40]), c, "expected 4398046511104 bytes"
    yield "no_data", file((ARCH,), (tensor("a", [8]),)), c, "expected 32 bytes at data offset 0"
    yield "data_cut_off", good[:-1], c, "expected 32 bytes at data offset 0"
    yield "tensors_overlap", file((ARCH,), (tensor("a", [16]), tensor("b", [8], offset=32)), data), c, \
        "'a' and 'b' overlap"
    yield "tensors_same_place", file((ARCH,), (tensor("a", [8], offset=32), tensor("b", [8], offset=32)), data), c, \
        "overlap"
    yield "tensor_inside_another", file((ARCH,), (tensor("b", [8], offset=64), tensor("a", [40])), data), c, \
        "'a' and 'b' overlap"
    yield "ends_in_shape", file((ARCH,), (tensor("abcdefgh", [8, 8, 8, 8])[:36],)), c, "tensor 'abcdefgh'"
    yield "ends_in_tensor_type", file((ARCH,), (tensor("abcdefgh", [1, 1, 1])[:42],)), c, "ends inside tensor"
    yield "ends_in_offset", file((ARCH,), (tensor("abcdefgh", [8])[:-1],)), c, "ends inside tensor 'abcdefgh'"


def wanted():
    files, lines = {}, []
    for name, raw, code, part in cases():
        assert f"{name}.gguf" not in files, name
        assert len(raw) <= 4096 and "\t" not in part, name
        files[f"{name}.gguf"] = raw
        lines.append(f"{name}.gguf\t{code}\t{part}\n")
    files["expectations.tsv"] = "".join(lines).encode()
    return files


def main():
    files = wanted()
    if sys.argv[1:] == ["--check"]:
        present = {p.name: p.read_bytes() for p in FOLDER.iterdir()} if FOLDER.is_dir() else {}
        differing = sorted(n for n in files.keys() | present.keys() if files.get(n) != present.get(n))
        if differing:
            sys.exit(f"make_malformed_ggufs: differs from {FOLDER}: {', '.join(differing)}")
        return
    if sys.argv[1:]:
        sys.exit(__doc__)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, raw in files.items():
        (FOLDER / name).write_bytes(raw)
    print(f"{len(files) - 1} files in {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
