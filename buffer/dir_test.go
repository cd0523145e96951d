package buffer

import (
	"fmt"
	"os"
	"testing"
)

func TestDirPath(t *testing.T) {
	own := fmt.Sprintf("/tmp/sockbox-%d", os.Getuid())
	for _, test := range []struct{ sockboxDir, runtimeDir, want string }{
		{"/a/b", "/run/user/1", "/a/b"},
		{"/a/b/", "/run/user/1", "/a/b"}, // with the slash a symbolic link would be followed
		{"rel", "", "rel"},
		{"", "/run/user/1", "/run/user/1/sockbox"},
		{"", "", own},
	} {
		t.Setenv("SOCKBOX_DIR", test.sockboxDir)
		t.Setenv("XDG_RUNTIME_DIR", test.runtimeDir)
		if got := DirPath(); got != test.want {
			t.Errorf("SOCKBOX_DIR=%s XDG_RUNTIME_DIR=%s: %s, want %s", test.sockboxDir, test.runtimeDir, got, test.want)
		}
	}
}
