package web

import (
	"context"
	"net/http"
)

// A dynamic answers requests by running scripts. It may be used by many at once.
type dynamic interface {
	// serve answers r with what s says. r's body is bounded in size and time, and its context
	// ends when the client goes or the server is in a hurry. w can be flushed
	// (http.ResponseController). It returns when the answer is complete and the script's processes
	// are gone or are being ended.
	serve(w http.ResponseWriter, r *http.Request, s script, p peer)

	// close ends what is left. It is called once, after the last serve has returned; ctx ends when
	// there is no more patience.
	close(ctx context.Context) error
}
