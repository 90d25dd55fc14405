(() => {
  'use strict';
  const at = (id) => document.getElementById(id);
  const items = [...document.querySelectorAll('#stages li')];
  const texts = {
    queued: 'The start is requested and waits for its turn.',
    container: 'The container is being made or started.',
    server: 'The container runs. Its server does not answer yet.',
  };
  const slow = ' This takes longer than usual.';
  const began = Date.now();
  let lost = 0;

  // A screen reader announces each change, so that nothing is written twice.
  const say = (text) => { if (at('text').textContent !== text) at('text').textContent = text; };

  const show = (stage) => {
    const now = items.findIndex((item) => item.dataset.stage === stage);
    items.forEach((item, i) => {
      item.className = i < now ? 'done' : i === now ? 'now' : '';
      if (i === now) item.setAttribute('aria-current', 'step'); else item.removeAttribute('aria-current');
    });
  };

  const end = (text) => {
    at('title').textContent = 'Your session does not run';
    at('stages').hidden = true;
    at('again').hidden = false;
    say(text);
  };

  // A session that is ready and then is not, again and again, must not have this page reload for ever.
  const open = () => {
    let opened = [];
    try {
      opened = (sessionStorage.getItem('berth-opened') || '').split(',').map(Number).filter((t) => Date.now() - t < 60000);
      sessionStorage.setItem('berth-opened', opened.concat(Date.now()).join(','));
    } catch { /* storage is switched off */ }
    if (opened.length >= 5) return end('The session has started several times in a minute and ended again. Whoever runs it can look into its logs.');
    say('The session is ready.');
    location.reload();
  };

  const later = (ms) => setTimeout(ask, ms);

  const ask = async () => {
    const waited = Date.now() - began;
    let progress;
    try {
      const answer = await fetch('/.berth/progress', { cache: 'no-store', redirect: 'error' });
      if (answer.status === 401 || answer.status === 403 || answer.status === 404) return end('You are not signed in to this session any more.');
      if (!answer.ok) throw new Error(answer.statusText);
      progress = await answer.json();
    } catch {
      if (++lost > 60) return end('Berth cannot be reached.');
      say('Berth cannot be reached. Trying again …');
      return later(2000);
    }
    lost = 0;
    if (progress.stage === 'ready') { show('ready'); return open(); }
    if (!texts[progress.stage]) return end(progress.message || 'The session is not running.');
    if (waited > 900000) return end('The session has not started within 15 minutes. Whoever runs it can look into its logs.');
    show(progress.stage);
    say(texts[progress.stage] + (waited > 30000 ? slow : ''));
    later(waited > 120000 ? 5000 : waited > 10000 ? 1000 : 400);
  };

  if (!at('stages').hidden) ask();
})();
