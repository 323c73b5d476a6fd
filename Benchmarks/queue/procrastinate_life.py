"""procrastinate_life URL COUNT: jobs deferred and worked off by two workers of 16 at once; prints jobs a second."""

import asyncio, multiprocessing, sys, time

from procrastinate import App, PsycopgConnector


def application(url):
    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=20))

    @app.task(name="noop")
    async def noop(text):
        pass

    return app, noop


def work(url):
    async def run():
        app, _ = application(url)
        async with app.open_async():
            await app.run_worker_async(concurrency=16, install_signal_handlers=False, fetch_job_polling_interval=0.1)

    asyncio.run(run())


async def main(url, count):
    app, noop = application(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        workers = [multiprocessing.get_context("spawn").Process(target=work, args=(url,)) for _ in range(2)]
        for worker in workers:
            worker.start()

        async def finished():
            rows = await app.connector.execute_query_all_async(
                "SELECT count(*) AS n FROM procrastinate_jobs WHERE status = 'succeeded'")
            return rows[0]["n"]

        await noop.defer_async(text="warm")
        while await finished() < 1:
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        share = count // 8

        async def client():
            for _ in range(share):
                await noop.defer_async(text="x" * 160)

        await asyncio.gather(*(client() for _ in range(8)))
        while await finished() < share * 8 + 1:
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - begun
        for worker in workers:
            worker.kill()
            worker.join()
    print(share * 8 / seconds)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
