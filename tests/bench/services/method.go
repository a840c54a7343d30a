package main

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	ordersv1 "github.com/weftrun/weft/tests/bench/services/orders/v1"
	"github.com/weftrun/weft/tests/bench/services/orders/v1/ordersv1connect"
)

// method is one that is called, always with the same message.
type method struct {
	name, path  string
	proto, json []byte
	answer      proto.Message
}

var (
	nothing = newMethod("no-op", ordersv1connect.OrderServiceNothingProcedure, &ordersv1.NothingRequest{}, &ordersv1.NothingResponse{})
	echo    = newMethod("echo", ordersv1connect.OrderServiceEchoProcedure, &ordersv1.EchoRequest{Order: order}, &ordersv1.EchoResponse{Order: order})
	hold    = newMethod("hold", ordersv1connect.OrderServiceHoldProcedure, &ordersv1.HoldRequest{Number: 1}, &ordersv1.HoldResponse{Number: 1})
)

var order = &ordersv1.Order{Id: "order-2048", Customer: "ada@shop.example", Cents: 5_797, Items: []*ordersv1.Item{
	{Sku: "kettle", Quantity: 1, Cents: 3_999}, {Sku: "cup-blue", Quantity: 2, Cents: 799}, {Sku: "tea-green-100", Quantity: 1, Cents: 200}}}

func newMethod(name, path string, in, out proto.Message) method {
	m := method{name: name, path: path, answer: out}
	var err error
	if m.proto, err = proto.Marshal(in); err == nil {
		m.json, err = protojson.Marshal(in)
	}
	if err != nil {
		panic(err) // messages of this file
	}
	return m
}

// in is the message in a codec.
func (m method) in(codec string) []byte {
	if codec == "json" {
		return m.json
	}
	return m.proto
}

// check reports a body that is not what the method answers. All that is asked
// with is answered alike.
func (m method) check(c cell, body []byte) error {
	if c.codec == "json" {
		got := m.answer.ProtoReflect().New().Interface()
		if len(body) == len(m.json) && bytes.Equal(body, m.json) {
			return nil // the usual case, which must not cost the load much
		}
		if err := protojson.Unmarshal(body, got); err != nil || !proto.Equal(got, m.answer) {
			return fmt.Errorf("the answer is %q", body)
		}
		return nil
	}
	if want := c.framed(m.proto); !bytes.Equal(body, want) {
		return fmt.Errorf("the answer is %q and not %q", body, want)
	}
	return nil
}
