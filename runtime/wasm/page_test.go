package wasm

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// elsewhere are the tests of the sentences and rows that abiCases does not show: by
// how each begins, a test, or a script of tests/e2e.
var elsewhere = map[string]string{
	"A module is WebAssembly": "meter.TestTheCoreTestSuiteSeesNoDifference", "It exports `memory`": "TestInitializeIsLimitedToo", "The SDKs in": "TestGoGuest",
	"A handler is an exported": "TestCheckReportsWhatAModuleIs", "All are in the module": "TestEverySentenceOfThePageHasATest",
	"`state_get(": "TestHandlersReachWhatTheyImport", "`state_set(": "TestHandlersReachWhatTheyImport", "`state_delete(": "TestHandlersReachWhatTheyImport",
	"`publish(": "TestHandlersReachWhatTheyImport", "`call(": "TestHandlersReachWhatTheyImport", "`call_detail(": "TestAGuestReadsTheDetailsOfAnErrorOfACall", "`http(": "TestHandlersReachWhatTheyImport",
	"`config_get(": "TestHandlersReachWhatTheyImport", "`secret_get(": "TestHandlersReachWhatTheyImport", "`log(": "TestHandlersReachWhatTheyImport",
	"An import that a module": "TestCheckReportsWhatAModuleIs", "Any other import of": "TestHostileUploadsAreRefusedWithTheirCause", "WASI preview 1": "TestGoGuest",
}

// The sentences about what the engine, the catalog and the host promise.
func init() {
	const (
		streams, called, state     = "TestWhatAMessageTellsOfIsDurableBeforeItPasses", "TestAHandlerThatHasCalledTheOutsideIsNotRunAgain", "TestStateIsOfAModulesNameAndNamespaceAndOutlivesItsVersions"
		refused, suite, left       = "TestServicesThatCannotBeServedAreRefusedByName", "TestConnectConformanceInsideAGuest", "TestNothingOfACallIsLeft"
		mailbox                    = "TestAMailboxCarriesInputAndOutput"
		calls, asHandler           = "TestAHandlerCallsAMethodOfAnotherModuleInProcess", "TestAMethodIsCalledAsAHandler"
		page, code, costs, ceiling = "TestThePageHasTheNumbersAndNamesOfTheCode", "TestEveryLimitHasItsNameAndCode", "TestInstructionsCostWhatThePageSays", "TestTheHostsLimitsAreACeilingAndNoDefault"
	)
	maps.Copy(elsewhere, map[string]string{
		"A guest may have its input": mailbox, "It exports `weft_mailbox`": mailbox, "With another signature": "TestAMailboxOfAnotherSignatureIsRefused", "Where they are not in memory": mailbox,
		"0 | the host, once": mailbox, "1, 2 | the guest": "TestARoomMayBeMovedByACall", "3 | the host, before": mailbox, "4, 5 | the guest": mailbox, "What does not fit": mailbox, "When the handler returns": mailbox,
		"Where that is not in memory": mailbox, "What goes through the mailbox": "TestAMailboxBurnsNoFuel", "In that of an isolated": "TestAnIsolatedGuestHasNoMailbox", "`weft module inspect` says": "author.txtar",

		"State and events are committed": "TestAFailedHandlerLeavesNothing", "A value, and an event": "TestWhatACallKeepsUntilItsCommitIsBounded", "State belongs to": state, "A handler reads what": streams,
		"When somebody else changed what it read, it is run again, unless": called, "An outbound call carries": "TestBranchesGoOnAfterARestart",
		"A handler with a stream": streams, "A message that it sends commits": streams, "What it read before": streams, "When it fails, only": streams,
		"When somebody else changed what it read, it is run again on": streams,

		"A request of `call` or": "TestARequestIsBounded", "A call of another module's": calls, "Its request is JSON": calls, "A method that streams cannot": calls, "At most 32 calls": "TestHandlersThatCallEachOtherInACircleAreStopped",
		"A method may be [bound": "TestAMethodIsAnsweredByARunOfItsWorkflow", "A method with one message": asHandler, "They take JSON": asHandler, "It is told": "TestWhatACallInProcessTellsItsMethod",

		"A module may carry": "TestWhatLiesBesideAModuleWinsOverWhatIsInside", "Each method is served": "TestAnUploadWithDescriptorsIsAServiceAtOnce", "Refused are a method": refused,
		"A message is protobuf": suite, "A method that does not": suite, "It is called at": "TestAMethodIsServedFromItsDescriptorAlone", "Where none is named": "TestAPromotedVersionIsCalledWhereNoneIsNamed",
		"A method with a rule": "TestAStreamIsLinesOrEvents", "OpenAPI of each": "TestAnUploadHasItsRoutesItsDescriptionAndPagesThatCallIt",

		"JSON in the custom": "TestPush", "A field that is not": page, "`name`, `version` |": "TestRefusedPushesStoreNothing", "`description` |": page, "`handlers` |": "TestPush",
		"`subscriptions` |": "TestASubscriptionMatchesByTypeAndAttributes", "`grants` |": "TestGrants", "`limits` |": "TestAModuleThatAsksForTooMuchIsRefused",
		"`lifecycle` |": "TestLifecyclesHaveNames", "`isolation` |": "TestWhatIsNamedMostCloselyDecidesWhereAModuleRuns", "`bind` |": "TestBindingsThatCannotAnswerAreRefused", "`config` |": "TestWhatLiesBesideAModuleWinsOverWhatIsInside",
		"`weft module build DIR`": "author.txtar", "`weft module inspect` shows": "TestAnInspectionTellsServicesAndRefusesAsAnUpload", "Asking is not": "TestAskingIsNotHaving",

		"With `lifecycle: pool` an": "TestAnInstanceServesManyCallsAndIsRetired", "It is retired early": "TestMemoryGrowsToItsLimitOnly", "With `lifecycle: isolate`, or": left, "What is to be ready": left,
		"An instance whose call": "TestWhatAResetDoesNotBringBackEndsTheInstance", "Random numbers differ": "TestRandomNumbersDifferAfterAReset", "A generator that": "TestAGeneratorThatAGuestSeedsItselfRepeats",

		"memory of an instance": "TestMemoryGrowsToItsLimitOnly", "elements of each table": code, "wall clock, outbound": code, "fuel |": code, "output |": code,
		"log of a call |": "TestTheLogOfACallEndsAtItsLimit", "log of a module": "TestAMinutesLogEndsAtItsLimitAndBeginsAgain", "calls of the host that": code,
		"calls of one module": "TestCallsOverTheLimitWait", "calls that wait": "TestAFullQueueRefusesAtOnce",
		"A manifest may ask for less": ceiling, "What is above that": "TestAModuleThatAsksForTooMuchIsRefused", "An error names its": code, "Each namespace has a": "TestANamespaceThatTakesAllItCanLeavesOthersTheirs",
		"The time of a call": "TestAHandlerSeesItsDeadline", "Fuel is counted at": "TestEveryLimitHasItsNameAndCode", "The slice that ends first": "TestACallDoesNotPayForTheFuelOfAnother", "Code is metered": "TestHostileHandlersAreStopped", "After a trap or a limit": "TestAnInstanceThatFailedIsNotUsedAgain",
		"Making an instance": "TestMakingAnInstanceHasLimitsOfItsOwn", "What is over them there": "TestMakingAnInstanceHasLimitsOfItsOwn", "Making burns 100": "TestMakingAnInstanceBurnsWhatThePageSays",
		"Fuel is work": costs, "An instruction costs": costs, "A function is charged": costs, "So computing burns": "BenchmarkLoop", "What a call may take of time": "TestTheWallClockStopsAHandler",
	})
}

// TestEverySentenceOfThePageHasATest holds docs/ABI.md and the tests together.
func TestEverySentenceOfThePageHasATest(t *testing.T) {
	text := abiPage(t)
	var all []string
	end := regexp.MustCompile("\\.\\s+([A-Z`])")
	for block := range strings.SplitSeq(text, "\n\n") {
		switch {
		case strings.HasPrefix(block, "#"):
		case !strings.HasPrefix(block, "|"):
			all = append(all, strings.Split(end.ReplaceAllString(strings.Join(strings.Fields(block), " "), ".\n$1"), "\n")...)
		case strings.HasPrefix(block, "| code |"): // see TestThePageHasTheNumbersAndNamesOfTheCode
		default:
			for _, row := range strings.Split(strings.TrimSpace(block), "\n")[2:] {
				all = append(all, strings.TrimPrefix(row, "| "))
			}
		}
	}
	shown := map[string]bool{}
	for _, c := range abiCases {
		shown[c.says] = true
	}
	tests := sources(t)
	for says, test := range elsewhere {
		shown[says] = true
		if script := filepath.Join("../../tests/e2e/testdata", test); strings.HasSuffix(test, ".txtar") {
			if _, err := os.Stat(script); err != nil {
				t.Error(err)
			}
		} else if !strings.Contains(tests, "func "+strings.TrimPrefix(test, "meter.")+"(") {
			t.Errorf("there is no %s", test)
		}
	}
	for _, s := range all {
		n := 0
		for says := range shown {
			if strings.HasPrefix(s, says) {
				n++
			}
		}
		if n != 1 && strings.TrimSpace(s) != "" {
			t.Errorf("%d tests for: %s", n, s)
		}
	}
	for says := range shown {
		if !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, says) }) {
			t.Errorf("the page does not say: %s", says)
		}
	}
}

func abiPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestThePageHasTheNumbersAndNamesOfTheCode reads the tables of codes, imports, fields
// of a manifest and limits.
func TestThePageHasTheNumbersAndNamesOfTheCode(t *testing.T) {
	text := abiPage(t)
	_, table, _ := strings.Cut(text, "| code |")
	table, _, _ = strings.Cut(table, "\n\n")
	codes := regexp.MustCompile(`\| (\d+) \| (\w+) `).FindAllStringSubmatch(table, -1)
	for _, c := range codes {
		if n, _ := strconv.Atoi(c[1]); weft.Code(n).String() != c[2] {
			t.Errorf("code %d is %v, and %s on the page", n, weft.Code(n), c[2])
		}
	}
	if len(codes) != int(weft.Unauthenticated) {
		t.Errorf("the page has %d codes", len(codes))
	}
	for _, h := range hostFuncs {
		_, rest, ok := strings.Cut(text, "| `"+h.name+"(")
		args, _, _ := strings.Cut(rest, ")")
		if n := len(strings.FieldsFunc(args, func(r rune) bool { return r == ',' })); !ok || n != len(h.params) {
			t.Errorf("%s has %d parameters, and %d on the page", h.name, len(h.params), n)
		}
	}
	_, manifest, _ := strings.Cut(text, "## The manifest")
	manifest, _, _ = strings.Cut(manifest, "\n## ")
	for _, of := range []struct {
		row string // of the table; empty for all
		is  any
	}{{"", weft.Manifest{}}, {"`handlers` |", weft.HandlerSpec{}}, {"`subscriptions` |", weft.Subscription{}}, {"`grants` |", weft.Grants{}}} {
		want := fieldsOf(of.is)
		var got []string
		for row := range strings.SplitSeq(manifest, "\n| ") {
			first, rest, _ := strings.Cut(row, " | ")
			if of.row == "" {
				rest = first
			} else if !strings.HasPrefix(row, of.row) {
				continue
			}
			rest, _, _ = strings.Cut(strings.ReplaceAll(rest, "`*`", ""), "\n\n")
			rest, _, _ = strings.Cut(rest, "without the list")
			for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(rest, -1) {
				got = append(got, name[1])
			}
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s has %q, and %q on the page", reflect.TypeOf(of.is), want, got)
		}
	}
	limits := reflect.ValueOf(DefaultLimits)
	for i, name := range fieldsInOrder(weft.Limits{}) {
		row := regexp.MustCompile("\\| `" + name + "` \\| ([0-9,]+)( KiB| MiB)? \\|").FindStringSubmatch(text)
		if row == nil {
			t.Errorf("%s is not on the page", name)
			continue
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(row[1], ",", ""), 10, 64)
		n <<= map[string]int{" KiB": 10, " MiB": 20}[row[2]]
		if n != limits.Field(i).Int() || err != nil {
			t.Errorf("%s is %d, and %s%s on the page", name, limits.Field(i).Int(), row[1], row[2])
		}
	}
	if _, err := ParseManifest([]byte(`{"name":"a","colour":"red"}`)); weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "colour") {
		t.Errorf("a field that is not on the page: %v", err)
	}
}

// fieldsInOrder are the names of the fields of a struct in JSON.
func fieldsInOrder(of any) (names []string) {
	typ := reflect.TypeOf(of)
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func fieldsOf(of any) []string { return slices.Sorted(slices.Values(fieldsInOrder(of))) }

// sources are the tests of all rooms whose promises are on the page.
func sources(t *testing.T) (all string) {
	for _, dir := range []string{".", "meter", "../catalog", "../engine", "../..", "../../host", "../../host/services", "../../tests/conformance/connect"} {
		files, _ := filepath.Glob(dir + "/*_test.go")
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all += string(b)
		}
	}
	return all
}
