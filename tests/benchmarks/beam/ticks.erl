%% Tickers of ten milliseconds beside endless loops: how late they go on, in milliseconds.
-module(ticks).
-export([lateness/3, hog/0]).

lateness(Tickers, Hogs, Seconds) ->
    Me = self(),
    [spawn(?MODULE, hog, []) || _ <- lists:seq(1, Hogs)],
    Until = erlang:monotonic_time(millisecond) + 1000 * Seconds,
    [spawn(fun() -> timer:sleep(rand:uniform(10)), Me ! {late, tick(Until, [])} end) || _ <- lists:seq(1, Tickers)],
    Late = lists:sort(lists:append([receive {late, Some} -> Some end || _ <- lists:seq(1, Tickers)])),
    family:say("{\"p50\": ~.4f, \"p99\": ~.4f, \"max\": ~.4f}",
               [family:quantile(Late, 0.5), family:quantile(Late, 0.99), lists:last(Late)]).

tick(Until, Late) ->
    Due = erlang:monotonic_time(millisecond) + 10,
    erlang:start_timer(Due, self(), tick, [{abs, true}]),
    receive {timeout, _, tick} -> ok end,
    Now = [erlang:monotonic_time(microsecond) / 1000 - Due | Late],
    case Due < Until of
        true -> tick(Until, Now);
        false -> Now
    end.

hog() -> hog().
