package services

import (
	"context"
	"io"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftrun/weft"
)

// message is one message, encoded. What comes as protobuf passes as it is; JSON
// becomes protobuf where it comes in, and protobuf JSON where it goes out, so
// that an implementation knows protobuf alone.
type message struct {
	shape *shape
	data  []byte
}

// shape is the type of a message, ready to go from JSON to protobuf and back.
type shape struct {
	desc protoreflect.MessageDescriptor
	plan *plan
}

// shape is that of a message of the schema. It is made once, while linking.
func (s *Schema) shape(md protoreflect.MessageDescriptor) *shape {
	if t := s.shapes[md.FullName()]; t != nil {
		return t
	}
	t := &shape{desc: md, plan: s.plans.plan(md)}
	s.shapes[md.FullName()] = t
	return t
}

// fromJSON appends a message in JSON to dst, as protobuf. Fields that it does
// not know are passed over, as clients may be newer than a module.
func (t *shape) fromJSON(dst, text []byte) ([]byte, error) {
	if out, ok := t.plan.fromJSON(dst, text); ok {
		return out, nil
	}
	out, err := t.plan.byMessage(dst, text)
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "services.fromJSON", "no %s: %w", t.desc.FullName(), err)
	}
	return out, nil
}

// toJSON appends an encoded message to dst, as JSON.
func (t *shape) toJSON(dst, data []byte) ([]byte, error) {
	if out, ok := t.plan.toJSON(dst, data, 0); ok {
		return out, nil
	}
	out, err := t.plan.byMessageJSON(dst, data)
	if err != nil {
		return nil, weft.Errorf(weft.Internal, "services.toJSON", "the answer is no %s: %w", t.desc.FullName(), err)
	}
	return out, nil
}

// binaryCodec is the codec proto. What is not a message of a module, such as
// those of reflection, goes the usual way.
type binaryCodec struct{ *connectproto.BinaryCodec }

var _ connect.StableCodec = binaryCodec{}

func (c binaryCodec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	m, ok := msg.(*message)
	if !ok {
		return c.BinaryCodec.MarshalWrite(ctx, dst, msg)
	}
	_, err := dst.Write(m.data)
	return err
}

func (c binaryCodec) MarshalWriteStable(ctx context.Context, dst io.Writer, msg any) error {
	if _, ok := msg.(*message); !ok {
		return c.BinaryCodec.MarshalWriteStable(ctx, dst, msg)
	}
	return c.MarshalWrite(ctx, dst, msg)
}

func (c binaryCodec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) (err error) {
	m, ok := msg.(*message)
	if !ok {
		return c.BinaryCodec.UnmarshalRead(ctx, src, msg)
	}
	m.data, err = readAll(m.data[:0], src)
	return err
}

// jsonCodec is the codec json.
type jsonCodec struct{ *connectproto.JSONCodec }

var _ connect.StableCodec = jsonCodec{}

func (c jsonCodec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	m, ok := msg.(*message)
	if !ok {
		return c.JSONCodec.MarshalWrite(ctx, dst, msg)
	}
	var room []byte
	if b, ok := dst.(interface{ AvailableBuffer() []byte }); ok {
		room = b.AvailableBuffer()
	}
	text, err := m.shape.toJSON(room, m.data)
	if err != nil {
		return err
	}
	_, err = dst.Write(text)
	return err
}

func (c jsonCodec) MarshalWriteStable(ctx context.Context, dst io.Writer, msg any) error {
	if _, ok := msg.(*message); !ok {
		return c.JSONCodec.MarshalWriteStable(ctx, dst, msg)
	}
	return c.MarshalWrite(ctx, dst, msg)
}

func (c jsonCodec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) (err error) {
	m, ok := msg.(*message)
	if !ok {
		return c.JSONCodec.UnmarshalRead(ctx, src, msg)
	}
	text, err := textOf(src)
	if err != nil {
		return err
	}
	m.data, err = m.shape.fromJSON(m.data[:0], text)
	return err
}

// textOf is what src holds, without a copy where that is possible.
func textOf(src io.Reader) ([]byte, error) {
	if b, ok := src.(interface{ Bytes() []byte }); ok {
		return b.Bytes(), nil
	}
	return io.ReadAll(src)
}

// readAll is a copy of what src holds: its bytes are lent for this call only.
func readAll(dst []byte, src io.Reader) ([]byte, error) {
	if b, ok := src.(interface{ Len() int }); ok {
		n := b.Len()
		if cap(dst) < n {
			dst = make([]byte, n)
		}
		dst = dst[:n]
		_, err := io.ReadFull(src, dst)
		return dst, err
	}
	b, err := io.ReadAll(src)
	return append(dst, b...), err
}
