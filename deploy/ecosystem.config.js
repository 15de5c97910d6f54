// pm2: pm2 start deploy/ecosystem.config.js && pm2 save
// `ewmalab live` supervises its two processes itself; pm2 only keeps it running.
module.exports = {
  apps: [
    {
      name: "ewmalab",
      script: ".venv/bin/ewmalab",
      args: "live --wallet miner --hotkey default",
      interpreter: "none",
      cwd: __dirname + "/..",
      env: {
        NUMBA_CACHE_DIR: __dirname + "/../.numba", // compiled kernels
        EWMALAB__LIVE__MESSAGE_FILES: "5", // rotated; pm2 itself rotates nothing
      },
      kill_timeout: 90000, // running answers are finished, bars are archived
      restart_delay: 5000,
      autorestart: true,
    },
  ],
};
