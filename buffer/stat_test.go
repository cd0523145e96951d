package buffer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// What is told of the fields is told of each that is printed, and of no other.
func TestStatFields(t *testing.T) {
	b, err := json.Marshal(Stat{Port: 1, Link: true, Frame: "line", Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	var printed map[string]any
	if err := json.Unmarshal(b, &printed); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, f := range StatFields() {
		told = append(told, f.Name)
		want := "string"
		switch printed[f.Name].(type) {
		case bool:
			want = "boolean"
		case float64:
			want = "number"
		}
		if f.Type != want {
			t.Errorf("%s is a %s, told is %s", f.Name, want, f.Type)
		}
		if f.Doc == "" || strings.HasSuffix(f.Doc, ".") || strings.Contains(f.Doc, "\n") {
			t.Errorf("%s: %q", f.Name, f.Doc)
		}
	}
	if got := slices.Sorted(maps.Keys(printed)); !slices.Equal(got, slices.Sorted(slices.Values(told))) {
		t.Errorf("printed are %q, told are %q", got, told)
	}
}
