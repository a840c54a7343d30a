package services

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const nestingMax = 100 // messages inside each other in a FileDescriptorSet

// parts counts the messages in encoded ones, up to a limit, without making any: two
// bytes of a descriptor become two hundred when it is read. What cannot be read counts
// as far as it can.
func parts(b []byte, of protoreflect.MessageDescriptor, limit, depth int) (n int) {
	if depth > nestingMax {
		return limit + 1
	}
	for len(b) > 0 && n <= limit {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return n
		}
		size := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if size < 0 {
			return n
		}
		if f := of.Fields().ByNumber(number); kind == protowire.BytesType && f != nil && f.Message() != nil {
			inside, _ := protowire.ConsumeBytes(b[tag:])
			n += 1 + parts(inside, f.Message(), limit-n, depth+1)
		}
		b = b[tag+size:]
	}
	return n
}
