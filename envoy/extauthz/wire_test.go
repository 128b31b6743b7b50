package extauthz

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// generated reads a message as scan does, by the generated code.
func generated(data []byte) (attributes, error) {
	var message authv3.CheckRequest
	if err := proto.Unmarshal(data, &message); err != nil {
		return attributes{}, err
	}
	http := message.GetAttributes().GetRequest().GetHttp()
	extensions := message.GetAttributes().GetContextExtensions()
	a := attributes{
		http: http != nil, method: http.GetMethod(), path: http.GetPath(), host: http.GetHost(),
		provider: extensions[envoy.ExtProvider], mount: extensions[envoy.ExtMount], stream: extensions[envoy.ExtStream],
		runtime: extensions[envoy.ExtRuntime] == "true",
		raw:     http.GetHeaderMap() != nil, joined: map[string]string{},
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		a.stray = a.stray || exchange.Strays([]byte(h.GetKey()), []byte(h.GetValue())) || exchange.Strays([]byte(h.GetKey()), h.GetRawValue())
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		if isWanted(h.GetKey()) {
			a.headers = append(a.headers, header{h.GetKey(), value})
		}
	}
	for name, value := range http.GetHeaders() {
		if isWanted(name) {
			a.joined[name] = value
		}
	}
	return a, nil
}

// isWanted is wanted. A header that is left out must be one that says nothing.
func isWanted(name string) bool {
	if exchange.Wanted([]byte(name)) {
		return true
	}
	var seen exchange.Head
	if seen.Add(name, "x"); !reflect.DeepEqual(seen, exchange.Head{}) {
		panic(fmt.Sprintf("a decision uses the header %q, which is left out", name))
	}
	return false
}

func sameAttributes(a, b attributes) bool {
	return a.http == b.http && a.method == b.method && a.path == b.path && a.host == b.host &&
		a.provider == b.provider && a.mount == b.mount && a.stream == b.stream && a.runtime == b.runtime && a.raw == b.raw && a.stray == b.stray &&
		slices.Equal(a.headers, b.headers) && maps.Equal(a.joined, b.joined)
}

// FuzzScan: whatever the generated code reads, scan reads as it does.
func FuzzScan(f *testing.F) {
	for _, seed := range wireSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := generated(data)
		if err != nil {
			_ = new(attributes).scan(data) // which may look at less, and must not panic
			return
		}
		var got attributes
		before := slices.Clone(data)
		if err := got.scan(data); err != nil {
			t.Fatalf("refused: %v", err)
		}
		if !slices.Equal(before, data) {
			t.Fatal("the message was changed")
		}
		clear(data) // whose buffer belongs to another message next
		if !sameAttributes(got, want) {
			t.Fatalf("scanned   %+v\ngenerated %+v", got, want)
		}
	})
}

// The short way of [fields.next] reads what the long one reads, and refuses what
// that refuses.
func TestFieldsAreReadAlikeTheShortWay(t *testing.T) {
	var messages [][]byte
	for tag := range 256 {
		messages = append(messages, []byte{byte(tag)})
		for length := range 256 {
			for _, tail := range []int{0, 1, 2, 0x7f, 0x80, 0x90} {
				m := append([]byte{byte(tag), byte(length)}, make([]byte, tail)...)
				messages = append(messages, m)
			}
		}
	}
	for _, m := range messages {
		short, long := fields{m}, fields{m}
		n, v, err := short.next()
		n2, v2, err2 := long.nextOfAny()
		if n != n2 || !bytes.Equal(v, v2) || !errors.Is(err, err2) || err == nil && !bytes.Equal(short.message, long.message) {
			t.Fatalf("%x: field %d %x %v, the long way %d %x %v", m, n, v, err, n2, v2, err2)
		}
	}
}

// wireSeeds are messages as Envoy sends them, and as nobody sends them.
func wireSeeds(t testing.TB) [][]byte {
	t.Helper()
	w := newWorld(t)
	bytesOf := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := bytesOf(w.ask())
	join := bytesOf(w.ask(joined(true)))
	field := func(n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
	}
	http := func(v []byte) []byte {
		return field(checkAttributes, field(contextRequest, field(requestHTTP, v)))
	}
	varint := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	group := slices.Concat(protowire.AppendTag(nil, 77, protowire.StartGroupType), field(1, []byte("x")),
		protowire.AppendTag(nil, 77, protowire.EndGroupType))
	upper := bytesOf(w.ask(also("AUTHORIZATION", "a"), also("X-Ath-Other", "b"), also("Cookie", "c"), also("x-athlete", "d"),
		also("authorization\u212a", "e"), also("coo\u212aie", "f"), also(":Authority", "g"), also("x-ath-a", "h"), also("", "i"), also("X_Ath_Agent-Id", "j"), also("x-ath_b", "k"), also("x_athlete", "l"), also("x-ath", "m"), also("x-api-key", "aTH_tk_x")))
	extension := func(name, value string) []byte {
		return field(checkAttributes, field(contextExtension, slices.Concat(field(pairKey, []byte(name)), field(pairValue, []byte(value)))))
	}
	runtime := slices.Concat(http(nil), extension(envoy.ExtRuntime, "true"))
	return [][]byte{
		runtime, slices.Concat(runtime, extension(envoy.ExtRuntime, "false")), extension(envoy.ExtRuntime, "TRUE"), extension(envoy.ExtRuntime, "\xff"),
		slices.Concat(runtime, extension(envoy.ExtProvider, "p")), bytesOf(w.ask(onRuntimeRoute("tools"))),
		nil, plain, join, upper, bytesOf(w.ask(joined(false))),
		slices.Concat(plain, join), slices.Concat(join, plain), slices.Concat(plain, plain),
		slices.Concat(http(field(httpPath, []byte("/a"))), http(field(httpPath, []byte("/b"))), http(field(httpHost, nil))),
		slices.Concat(plain, http(field(httpPath, nil))), // an empty value is a value
		slices.Concat(plain, http(varint(httpPath, 7))),  // another type is another field
		slices.Concat(plain, varint(checkAttributes, 7), group),
		slices.Concat(plain, http(slices.Concat(field(99, []byte("x")), varint(98, 1<<60), group))),
		slices.Concat(plain, http(field(httpHeaderMap, nil))),
		http(field(httpHeaderMap, nil)), http(nil), field(checkAttributes, nil),
		http(field(httpHeaderMap, field(mapHeader, slices.Concat(
			field(pairKey, []byte("cookie")), field(pairKey, []byte("authorization")),
			field(pairRaw, []byte("1")), field(pairValue, []byte("2")), field(pairRaw, nil))))),
		http(slices.Concat(
			field(httpHeader, slices.Concat(field(pairKey, []byte("cookie")), field(pairValue, []byte("1")), field(pairRaw, []byte("2")))),
			field(httpHeader, slices.Concat(field(pairValue, []byte("3")), field(pairKey, []byte("cookie")))),
			field(httpHeader, field(pairKey, []byte("cookie"))))),
		field(checkAttributes, field(contextExtension, slices.Concat(field(pairKey, []byte(envoy.ExtProvider)), field(pairValue, []byte("p"))))),
		slices.Concat(field(checkAttributes, field(contextExtension, slices.Concat(field(pairKey, []byte(envoy.ExtProvider)), field(pairValue, []byte("p"))))),
			field(checkAttributes, field(contextExtension, field(pairKey, []byte(envoy.ExtProvider))))),
		plain[:len(plain)-1], http(field(httpPath, []byte("\xff"))), slices.Concat(plain, []byte{0}), slices.Concat(plain, []byte{12}),
	}
}
