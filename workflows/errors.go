package workflows

import (
	"regexp"

	"github.com/weftrun/weft"
)

// The standard error types of the language.
const (
	errorTypes          = "https://open-workflow-specification.org/spec/1.0.0/errors/"
	ConfigurationError  = errorTypes + "configuration"
	ValidationError     = errorTypes + "validation"
	ExpressionError     = errorTypes + "expression"
	AuthenticationError = errorTypes + "authentication"
	AuthorizationError  = errorTypes + "authorization"
	TimeoutError        = errorTypes + "timeout"
	CommunicationError  = errorTypes + "communication"
	RuntimeError        = errorTypes + "runtime"
)

var standardType = regexp.MustCompile(`^https?://(?:www\.)?(?:open-workflow-specification\.org|serverlessworkflow\.io)` +
	`/(?:dsl/errors/types|spec/[^/]+/errors|errors(?:/types)?)/([^/]+)/?$`)

// NormalErrorType gives the standard form of an error type, under which the
// old and the new domain and their several paths are one; any other type is
// its own.
func NormalErrorType(t string) string {
	if m := standardType.FindStringSubmatch(t); m != nil {
		return errorTypes + m[1]
	}
	return t
}

// CodeOfStatus is the code that callers get of an error with this status, which
// may be one of an author's own.
func CodeOfStatus(status int) weft.Code {
	switch status {
	case 400, 422:
		return weft.InvalidArgument
	case 401:
		return weft.Unauthenticated
	case 403:
		return weft.PermissionDenied
	case 404, 410:
		return weft.NotFound
	case 408, 504:
		return weft.DeadlineExceeded
	case 409:
		return weft.Aborted
	case 412, 428:
		return weft.FailedPrecondition
	case 413, 429:
		return weft.ResourceExhausted
	case 499:
		return weft.Canceled
	case 501:
		return weft.Unimplemented
	case 502, 503:
		return weft.Unavailable
	}
	if status >= 400 && status < 500 {
		return weft.FailedPrecondition
	}
	return weft.Internal
}

// StandardError is the type and the status of the standard error that an
// error of this code becomes in a workflow.
func StandardError(code weft.Code) (errorType string, status int) {
	switch code {
	case weft.InvalidArgument, weft.OutOfRange, weft.FailedPrecondition:
		return ValidationError, 400
	case weft.Unauthenticated:
		return AuthenticationError, 401
	case weft.PermissionDenied:
		return AuthorizationError, 403
	case weft.DeadlineExceeded:
		return TimeoutError, 408
	case weft.NotFound:
		return CommunicationError, 404
	case weft.AlreadyExists, weft.Aborted:
		return CommunicationError, 409
	case weft.ResourceExhausted:
		return CommunicationError, 429
	case weft.Unavailable:
		return CommunicationError, 503
	case weft.Unimplemented:
		return RuntimeError, 501
	}
	return RuntimeError, 500
}
