package extproc

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// What the second try says of its token is read from where it was written, which is
// nowhere that a guard reads.
func TestWhatASecondTrySaysStandsByItself(t *testing.T) {
	of := write(exchange.RequestHeaders, &exchange.Reply{
		Sent: "a canary", Metadata: []exchange.Metadatum{{Key: envoy.MetaAllow, Yes: true}, {Key: envoy.MetaSent, Text: "another"}},
	}).GetDynamicMetadata().GetFields()
	if len(of) != 1 || of[envoy.MetaNamespace] != nil || len(of[envoy.SentNamespace].GetStructValue().GetFields()) != 1 {
		t.Fatalf("%v", of)
	}
	m, err := read(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{}}},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			envoy.SentNamespace: of[envoy.SentNamespace].GetStructValue(),
			envoy.MetaNamespace: {Fields: map[string]*structpb.Value{envoy.MetaReason: structpb.NewStringValue("allowed")}},
		}},
	})
	if err != nil || m.Sent != "a canary" || len(m.Metadata) != 1 || m.Metadata[envoy.MetaReason] != "allowed" {
		t.Errorf("%+v, %v", m, err)
	}
}
