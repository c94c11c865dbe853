%% Processes that wait again and again: processor time per wait, in microseconds, and the wall against the ideal.
-module(sleeps).
-export([many/3]).

many(Count, Times, Ms) ->
    Me = self(),
    Before = used_ms(),
    Began = erlang:monotonic_time(),
    [spawn(fun() -> [timer:sleep(Ms) || _ <- lists:seq(1, Times)], Me ! done end) || _ <- lists:seq(1, Count)],
    [receive done -> ok end || _ <- lists:seq(1, Count)],
    Wall = family:us(Began) / 1000,
    After = used_ms(),
    family:say("{\"cpu_us\": ~.4f, \"wall\": ~.4f}", [1000 * (After - Before) / (Count * Times), Wall / (Times * Ms)]).

%% As the operating system counts it, all threads of the VM together.
used_ms() ->
    {ok, Stat} = file:read_file("/proc/self/stat"),
    [_, Rest] = string:split(Stat, ")", trailing),
    Fields = string:lexemes(Rest, " "),
    10 * (binary_to_integer(lists:nth(12, Fields)) + binary_to_integer(lists:nth(13, Fields))).
