package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fill sets every field of a struct to something that is not its zero value.
func fill(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem())
	case reflect.Struct:
		for i := range value.NumField() {
			if value.Type().Field(i).Type != reflect.TypeFor[Callbacks]() {
				fill(value.Field(i))
			}
		}
	case reflect.Slice:
		if value.Type() == reflect.TypeFor[json.RawMessage]() {
			value.SetBytes([]byte(`{"a":12345678901234567890}`))
			return
		}
		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		fill(value.Index(0))
	case reflect.Array:
		for i := range value.Len() {
			fill(value.Index(i))
		}
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		element := reflect.New(value.Type().Elem()).Elem()
		fill(element)
		value.SetMapIndex(reflect.ValueOf("k"), element)
	case reflect.Interface:
		value.Set(reflect.ValueOf("any"))
	case reflect.String:
		value.SetString("text")
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int64:
		value.SetInt(int64(3 * time.Millisecond))
	case reflect.Int, reflect.Int32:
		value.SetInt(4)
	case reflect.Uint64:
		value.SetUint(5)
	default:
		panic(value.Kind())
	}
}

// requestKeys finds the keys in the source of what reads a request.
const requestKeys = `(?:optional|or_default|required|object|objects|optional_objects|milliseconds)(?:::<[^(]*>)?\("(\w+)"`

func testRoundTrip[T any](t *testing.T, source, keyPattern string, least int) {
	t.Helper()
	var value, again T
	fill(reflect.ValueOf(&value).Elem())
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(value, again) {
		t.Errorf("made  %+v\nagain %+v\nby %s", value, again, text)
	}
	// The library's keys, from its source.
	keys := found(keyPattern, read(t, source))
	if len(keys) < least {
		t.Errorf("only the keys %v were found", keys)
	}
	for _, key := range keys {
		if !strings.Contains(string(text), `"`+key+`":`) {
			t.Errorf("the library's key %q cannot be said", key)
		}
	}
	var empty T
	if text, err := json.Marshal(empty); err != nil || strings.Contains(strings.ReplaceAll(string(text), `{"id":""}`, "{}"), ":") {
		t.Errorf("the zero value is %s, %v", text, err)
	}
}

func TestOptionsRoundTrip(t *testing.T) {
	testRoundTrip[Options](t, "../../src/pod/options.rs", `/// `+"`"+`(\w+)`+"`"+`: `, 10)
}

func TestPodRequestRoundTrip(t *testing.T) {
	testRoundTrip[PodRequest](t, "../../src/pod/request.rs", requestKeys, 10)
}

func TestOptionsAreKnownToTheLibrary(t *testing.T) {
	var options Options
	fill(reflect.ValueOf(&options).Elem())
	options.Plugin, options.PodCIDR, options.IfName = PluginNoop, "10.0.0.0/24", "eth1"
	options.Durability, options.IPPreference = DurabilityAtomic, IPPreferenceIPv6
	for _, builtin := range [][]string{nil, {}, {"loopback"}, {BuiltinAuto}} {
		options.Builtin = builtin
		plugin, err := NewPlugin(options)
		if err != nil {
			t.Fatal(builtin, err)
		}
		_ = plugin.Close()
		text, _ := json.Marshal(options)
		var again Options
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(options, again) {
			t.Errorf("%v becomes %v, %v", builtin, again.Builtin, err)
		}
	}
}

func TestPodRequestIsKnownToTheLibrary(t *testing.T) {
	var request PodRequest
	fill(reflect.ValueOf(&request).Elem())
	request.MAC, request.IPs = "02:00:00:00:00:01", []string{"10.0.0.2/24"}
	network := NetworkRequest{Name: "n", MAC: request.MAC, IPs: request.IPs, Args: map[string]any{"a": 1},
		CNIArgs: [][2]string{{"a", "b"}}, CapabilityArgs: map[string]any{"c": true}, IfName: "eth1"}
	request.Networks = []NetworkRequest{network, {Default: true}}
	request.PortMappings[0].HostIP, request.Timeout = "127.0.0.1", time.Minute
	if _, err := noop(t).SetUpPod(context.Background(), request); err != nil {
		t.Error(err)
	}
}

func TestEmptyIsNotAbsentWhereThatMatters(t *testing.T) {
	for _, row := range []struct {
		value any
		want  string
	}{
		{Options{BinDirs: []string{}}, `{"binDirs":[]}`},
		{Options{Env: map[string]string{}}, `{"env":{}}`},
		{Options{Builtin: []string{}}, `{"builtin":[]}`},
		{Options{Rollback: Ptr(false), Loopback: Ptr(false)}, `{"rollback":false,"loopback":false}`},
		{PodRequest{ID: "a", PortMappings: []PortMapping{}}, `{"id":"a","portMappings":[]}`},
		{PodRequest{ID: "a", Networks: []NetworkRequest{}}, `{"id":"a","networks":[]}`},
		{GCRequest{}, `{}`},
		{GCRequest{ValidPods: []ValidPod{}}, `{"validPods":[]}`},
		{GCRequest{ValidPods: []ValidPod{{ID: "a", Networks: []Attachment{}}}}, `{"validPods":[{"id":"a","networks":[]}]}`},
	} {
		if text, err := json.Marshal(row.value); string(text) != row.want {
			t.Errorf("got %s, %v, want %s", text, err, row.want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, row := range []struct {
		name string
		d    time.Duration
		want string
	}{
		{"the default is left out", 0, `{}`},
		{"no limit is 0", NoLimit, `{"timeoutMs":0}`},
		{"a fraction goes up", time.Nanosecond, `{"timeoutMs":1}`},
		{"a fraction goes up, not to a limit twice as long", 1500 * time.Microsecond, `{"timeoutMs":2}`},
		{"whole milliseconds stay", time.Minute, `{"timeoutMs":60000}`},
		{"the longest fits", math.MaxInt64, `{"timeoutMs":9223372036855}`},
	} {
		if text, err := json.Marshal(Options{Timeout: row.d}); string(text) != row.want {
			t.Errorf("%s: got %s, %v", row.name, text, err)
		}
	}
}

func TestDefaultTimeoutIsTheLibrarys(t *testing.T) {
	seconds := found(`\btimeout: Duration::from_secs\((\d+)\)`, read(t, "../../src/pod/options.rs"))
	if len(seconds) != 1 || seconds[0] != strconv.Itoa(int(defaultTimeout/time.Second)) {
		t.Errorf("the library's is %v s, the package's %v", seconds, defaultTimeout)
	}
}

func TestLimit(t *testing.T) {
	soon, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	over, cancelOver := context.WithTimeout(context.Background(), -time.Second)
	defer cancelOver()
	for _, row := range []struct {
		name             string
		ctx              context.Context
		request, library time.Duration
		least, most      time.Duration
		limited          bool
	}{
		{"no deadline", context.Background(), 5, 7, 5, 5, false},
		{"no deadline, no timeout", context.Background(), 0, 7, 0, 0, false},
		{"the deadline is nearer", soon, time.Hour, 0, time.Second, time.Minute, true},
		{"the request is shorter", soon, time.Second, time.Hour, time.Second, time.Second, false},
		{"the option is shorter", soon, 0, time.Second, 0, 0, false},
		{"the request is longer than the option", soon, time.Hour, time.Second, time.Second, time.Minute, true},
		{"the request has no limit", soon, NoLimit, time.Second, time.Second, time.Minute, true},
		{"nothing else has a limit", soon, 0, 0, time.Second, time.Minute, true},
		{"the deadline has passed", over, 0, 0, time.Millisecond, time.Millisecond, true},
	} {
		got, limited := limit(row.ctx, row.request, row.library)
		if got < row.least || got > row.most || limited != row.limited {
			t.Errorf("%s: %v, %v", row.name, got, limited)
		}
	}
}

func TestTextThatCCannotTakeIsRefused(t *testing.T) {
	plugin, ctx := noop(t), context.Background()
	_, options := NewPlugin(Options{ConfDir: "a\x00b"})
	_, request := plugin.SetUpPod(ctx, PodRequest{ID: "a", Annotations: map[string]string{"k": "\xff"}})
	_, value := plugin.SetUpPod(ctx, PodRequest{ID: "a", CapabilityArgs: map[string]any{"k": func() {}}})
	_, pointer := JSONGet("{}", "/a\x00")
	for what, err := range map[string]error{
		`plugin options.ConfDir: "a\x00b" has a NUL or is not UTF-8`:     options,
		`pod request.Annotations["k"]: "\xff" has a NUL or is not UTF-8`: request,
		`unsupported type: func()`:                                       value,
		`pointer: there is a NUL inside`:                                 pointer,
		`name: there is a NUL inside`:                                    plugin.Event(ctx, "a\x00", nil),
		`event details["k"]: "\x00" has a NUL or is not UTF-8`:           plugin.Event(ctx, "a", map[string]string{"k": "\x00"}),
		`id: there is a NUL inside`:                                      plugin.Cancel("\x00"),
		`path: there is a NUL inside`:                                    CreateNetNS("/a\x00"),
	} {
		if !errors.Is(err, ErrInvalidArgument) || !strings.HasSuffix(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
	}
}
